"""Writes small files in the format of GLUE's archive."""

MNLI_HEAD = ["index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"]
MNLI_HEAD += ["sentence1_parse", "sentence2_parse", "sentence1", "sentence2"]


def write(folder, **files):
    """Writes rows of fields to NAME.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (folder / f"{name}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def mnli(*labels):
    """Returns the rows of a file of MNLI with these labels; None for a test set."""
    rows = [
        [str(number), "p", "i", "g", "b", "b", "p", "p", 'He said "yes', f"He spoke {number}"]
        + ([] if label is None else ["neutral", label])
        for number, label in enumerate(labels)
    ]
    return [MNLI_HEAD + ([] if None in labels else ["label1", "gold_label"]), *rows]


def write_mnli(folder):
    """Writes all files of MNLI."""
    write(
        folder,
        train=mnli("contradiction", "entailment", "neutral"),
        dev_matched=mnli("entailment", "neutral"),
        dev_mismatched=mnli("neutral", "neutral"),
        test_matched=mnli(None, None, None),
        test_mismatched=mnli(None, None),
    )
