"""Rows of the STS-B pass: real pairs where there is data, otherwise random ids of such lengths."""

from pathlib import Path

import numpy as np

import flax_lite as fl
from benchmarks.sentence_student import read_pairs
from flax_lite.rows.buckets import bucket_for, bucket_lengths
from train.errors import UserError

LONGEST = 128
_TOKENIZERS = {"albert": "albert", "bert": "bert-base-uncased", "distilbert": "bert-base-uncased"}


def real_rows(data: Path, model: str, pairs: int) -> dict[str, np.ndarray]:
    """The first pairs of STS-B's development set, in its order, by the model's own tokenizer.

    Args:
        data: holds glue/STS-B/dev.tsv and tokenizers/{albert,bert-base-uncased}.
        model: a family.
        pairs: how many; 0 for all.

    Raises:
        UserError: if something is not there.
    """
    text, vocabulary = data / "glue" / "STS-B" / "dev.tsv", data / "tokenizers" / _TOKENIZERS[model]
    for path in (text, vocabulary):
        if not path.exists():
            raise UserError(f"--data {data}: there is no {path.relative_to(data)} in it; see --help for what it holds")
    found = read_pairs(text)
    end = pairs or len(found.first)
    return with_buckets(fl.load_tokenizer(vocabulary)(found.first[:end], found.second[:end], max_length=LONGEST))


def drawn_rows(vocab_size: int, pairs: int, longest: int) -> dict[str, np.ndarray]:
    """Random ids, 32 tokens a row on average, as STS-B's pairs have; theirs are 11 to 90 long."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(4.0, 5.0, pairs).astype(int) + 12, 4, longest)
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int32)
    types = (np.arange(longest) >= lengths[:, None] // 2).astype(np.int32) * mask
    ids = random.integers(1, vocab_size, (pairs, longest), np.int32) * mask
    return with_buckets({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})


def with_buckets(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows, the length of each, and the bucket that it is padded to."""
    lengths = rows["attention_mask"].sum(1)
    buckets = bucket_lengths(rows["attention_mask"].shape[1])
    return {**rows, "lengths": lengths, "buckets": np.array([bucket_for(int(one), buckets) for one in lengths])}
