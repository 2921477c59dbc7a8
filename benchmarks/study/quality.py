"""How well a given checkpoint judges STS-B's development set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import flax_lite as fl
from benchmarks.peers.sentences import LONGEST, with_buckets
from benchmarks.sentence_student import read_pairs, score
from benchmarks.study.measure import Scorer
from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.sources.resolve import open_source, sentence_transformers_layout
from train.errors import UserError

STS = Path("glue/STS-B/dev.tsv")
_SAME = ("model_type", "hidden_size", "num_hidden_layers", "num_hidden_groups")


def check(row: str, source: str, config: EncoderConfig) -> None:
    """Raises UserError unless the source can be read, is of the row's shape, and can judge pairs."""
    try:
        own = open_source(source).config
    except (ValueError, OSError) as error:
        first, *_ = str(error).splitlines()
        raise UserError(f"--checkpoints {row}={source}: {first}") from None
    for name in _SAME:
        if getattr(own, name) != getattr(config, name):
            wanted = f"{name} {getattr(config, name)}"
            raise UserError(f"--checkpoints {row}={source}: its {name} is {getattr(own, name)}; {row} has {wanted}")
    layout = sentence_transformers_layout(source)
    if layout is None and own.num_labels != 1:
        raise UserError(f"--checkpoints {row}={source}: expected a regression head (one label) or a sentence encoder")
    if layout is not None and layout.pooling != "mean":
        raise UserError(f"--checkpoints {row}={source}: pools by {layout.pooling}; expected a mean")


def quality(source: str, data: str) -> dict[str, Any]:
    """Correlations with people's judgments, in percent: of a regression head, or of a sentence encoder's cosines.

    Args:
        source: a checkpoint that `check` let pass.
        data: folder with STS-B.
    """
    found = read_pairs(Path(data) / STS)
    execution, tokenizer = fl.Execution(dtype="auto", unroll="auto"), fl.load_tokenizer(source)
    told = {"source": source, "pairs": len(found.first)}
    if sentence_transformers_layout(source) is not None:
        encoder = fl.Encoder.from_pretrained(source, execution=execution)
        spearman = score(encoder, tokenizer, found)
        return {**told, "method": "cosine of mean-pooled vectors", "pearson": None, "spearman": 100 * spearman}
    model = fl.SequenceClassification.from_pretrained(source, execution=execution)
    scores = Scorer(model)(with_buckets(tokenizer(found.first, found.second, max_length=LONGEST)))
    if not np.isfinite(scores).all():
        raise RuntimeError("not every score is finite")
    judgments = np.array(found.judgments)
    pearson, spearman = (100 * _correlation(test, scores, judgments) for test in (stats.pearsonr, stats.spearmanr))
    return {**told, "method": "regression head", "pearson": pearson, "spearman": spearman}


def _correlation(test: Callable[..., Any], scores: np.ndarray, judgments: np.ndarray) -> float:
    return float(test(scores, judgments)[0])
