"""The quality of a checkpoint on STS-B's development set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import flax_lite as fl
from benchmarks.harness.sentences import LONGEST, STS_FILE, read_pairs, with_buckets
from benchmarks.sentence_student import score
from benchmarks.study.measure import Scorer
from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.sources.resolve import open_source, sentence_transformers_layout
from train.errors import UserError

_SAME = ("model_type", "hidden_size", "num_hidden_layers", "num_hidden_groups")


def check(row: str, source: str, config: EncoderConfig) -> None:
    """Raises UserError unless the source is readable, has the row's shape, and can score pairs."""
    try:
        found = open_source(source).config
    except (ValueError, OSError) as error:
        first, *_ = str(error).splitlines()
        raise UserError(f"--checkpoints {row}={source}: {first}") from None
    for name in _SAME:
        if getattr(found, name) != getattr(config, name):
            wanted = f"{name} {getattr(config, name)}"
            raise UserError(f"--checkpoints {row}={source}: its {name} is {getattr(found, name)}; {row} has {wanted}")
    layout = sentence_transformers_layout(source)
    if layout is None and found.num_labels != 1:
        raise UserError(f"--checkpoints {row}={source}: expected a regression head (one label) or a sentence encoder")
    if layout is not None and layout.pooling != "mean":
        raise UserError(f"--checkpoints {row}={source}: pools by {layout.pooling}; expected a mean")


def quality(source: str, data: str) -> dict[str, Any]:
    """Computes correlations with people's judgments, in percent, of a regression head or a sentence encoder's cosines.

    Args:
        source: a checkpoint that `check` accepts.
        data: directory with STS-B.
    """
    pairs = read_pairs(Path(data) / STS_FILE)
    execution, tokenizer = fl.Execution(dtype="auto", unroll="auto"), fl.load_tokenizer(source)
    about = {"source": source, "pairs": len(pairs.first)}
    if sentence_transformers_layout(source) is not None:
        encoder = fl.Encoder.from_pretrained(source, execution=execution)
        spearman = score(encoder, tokenizer, pairs)
        return {**about, "method": "cosine of mean-pooled vectors", "pearson": None, "spearman": 100 * spearman}
    model = fl.SequenceClassification.from_pretrained(source, execution=execution)
    scores = Scorer(model)(with_buckets(tokenizer(pairs.first, pairs.second, max_length=LONGEST)))
    if not np.isfinite(scores).all():
        raise RuntimeError("not every score is finite")
    judgments = np.array(pairs.judgments)
    pearson, spearman = (100 * _correlation(test, scores, judgments) for test in (stats.pearsonr, stats.spearmanr))
    return {**about, "method": "regression head", "pearson": pearson, "spearman": spearman}


def _correlation(test: Callable[..., Any], scores: np.ndarray, judgments: np.ndarray) -> float:
    return float(test(scores, judgments)[0])
