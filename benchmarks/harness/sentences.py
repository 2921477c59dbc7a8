"""Sentence pairs of STS-B, and rows of their lengths where the data set is absent."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

import flax_lite as fl
from flax_lite.rows.buckets import bucket_for, bucket_lengths
from train.errors import UserError

STS_FILE = Path("glue/STS-B/dev.tsv")
LONGEST = 128
_TOKENIZERS = {"albert": "albert", "bert": "bert-base-uncased", "distilbert": "bert-base-uncased"}


class Pairs(NamedTuple):
    """Pairs of sentences, and the similarity that people gave each."""

    first: list[str]
    second: list[str]
    judgments: list[float]


def read_pairs(path: Path) -> Pairs:
    """Reads GLUE's STS-B: tab-separated, with columns sentence1, sentence2 and score.

    Raises:
        UserError: if a column is missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := {"sentence1", "sentence2", "score"}.difference(reader.fieldnames or ()):
            raise UserError(f"{path} has no column {', '.join(sorted(missing))}; expected GLUE's STS-B")
        rows = list(reader)
    first, second = ([row[name] for row in rows] for name in ("sentence1", "sentence2"))
    return Pairs(first, second, [float(row["score"]) for row in rows])


def real_rows(data: Path, family: str, pairs: int) -> dict[str, np.ndarray]:
    """Tokenizes the first pairs of STS-B's development set, in order, by the family's own tokenizer.

    Args:
        data: directory with glue/STS-B/dev.tsv and tokenizers/{albert,bert-base-uncased}.
        family: "albert", "bert" or "distilbert".
        pairs: how many; 0 for all.

    Raises:
        UserError: if a file is missing.
    """
    text, vocabulary = data / STS_FILE, data / "tokenizers" / _TOKENIZERS[family]
    for path in (text, vocabulary):
        if not path.exists():
            raise UserError(f"--data {data}: there is no {path.relative_to(data)} in it; --help says what it holds")
    found = read_pairs(text)
    end = pairs or len(found.first)
    return with_buckets(fl.load_tokenizer(vocabulary)(found.first[:end], found.second[:end], max_length=LONGEST))


def random_rows(vocab_size: int, pairs: int, longest: int) -> dict[str, np.ndarray]:
    """Draws random ids, 32 tokens per row on average as STS-B's pairs have, which are 11 to 90 tokens long."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.gamma(4.0, 5.0, pairs).astype(int) + 12, 4, longest)
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int32)
    types = (np.arange(longest) >= lengths[:, None] // 2).astype(np.int32) * mask
    ids = draw.integers(1, vocab_size, (pairs, longest), np.int32) * mask
    return with_buckets({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})


def with_buckets(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Adds the length of each row, and the bucket that it is padded to."""
    lengths = rows["attention_mask"].sum(1)
    buckets = bucket_lengths(rows["attention_mask"].shape[1])
    return {**rows, "lengths": lengths, "buckets": np.array([bucket_for(int(one), buckets) for one in lengths])}
