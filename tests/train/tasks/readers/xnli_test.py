"""XNLI: languages, the two spellings of a label, folders, and errors for invalid files."""

import pytest

from train.errors import UserError
from train.tasks.readers.xnli import read_xnli

HEAD = ["language", "gold_label", "sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse"]
HEAD += ["sentence2_parse", "sentence1", "sentence2", "promptID", "pairID", "genre", "label1", "match"]


def write(root, split, rows):
    lines = [HEAD] + [
        [language, label, "", "", "", "", f'{language} "{pair}', "ü", "9", str(pair), "face-to-face", label, "True"]
        for language, label, pair in rows
    ]
    (root / f"xnli.{split}.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n", encoding="utf-8")


def write_train(root, language, label="contradictory"):
    root.mkdir(parents=True, exist_ok=True)
    rows = ["premise\thypo\tlabel", f"{language} a\tb\t{label}", f"{language} c\t\tneutral"]
    (root / f"multinli.train.{language}.tsv").write_text("\n".join(rows))


ROWS = [("de", "neutral", 1), ("en", "contradiction", 1), ("de", "entailment", 2)]


def test_xnli_reads_one_language(tmp_path):
    write(tmp_path, "dev", ROWS)
    write(tmp_path, "test", ROWS[:1])
    write_train(tmp_path, "de")
    write_train(tmp_path, "en")
    data = read_xnli(f"files:{tmp_path}", language="de")
    assert data.labels == ("entailment", "neutral", "contradiction")
    assert [(e.texts, e.label) for e in data.train] == [(("de a", "b"), 2), (("de c", ""), 1)]
    assert [(e.id, e.texts, e.label) for e in data.evaluation["dev"]] == [
        ("1", ('de "1', "ü"), 1),
        ("2", ('de "2', "ü"), 0),
    ]
    assert [e.label for e in data.test["test"]] == [1]
    zero_shot = read_xnli(f"files:{tmp_path}", language="de", train_language="en")
    assert zero_shot.train[0].texts == ("en a", "b")
    assert zero_shot.evaluation == data.evaluation


def test_xnli_reads_the_unpacked_archives(tmp_path):
    (tmp_path / "XNLI-1.0").mkdir()
    write(tmp_path / "XNLI-1.0", "dev", ROWS)
    write_train(tmp_path / "XNLI-MT-1.0" / "multinli", "en")
    data = read_xnli(f"files:{tmp_path}")
    assert (len(data.train), len(data.evaluation["dev"]), data.test) == (2, 1, {})


def test_xnli_raises_for_invalid_files(tmp_path):
    def complaint(**options):
        with pytest.raises(UserError) as caught:
            read_xnli(f"files:{tmp_path}", **options)
        return str(caught.value)

    assert "There is no evaluation file of XNLI" in complaint()
    write(tmp_path, "dev", ROWS)
    assert "XNLI has no language 'english'" in complaint(language="english")
    assert "XNLI has no language 'xx'" in complaint(train_language="xx")
    assert "holds no row of the language 'fr'" in complaint(language="fr")
    write_train(tmp_path, "en", label="-")
    assert "multinli.train.en.tsv, line 2: unknown label '-'" in complaint()
