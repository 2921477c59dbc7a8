"""Cases: a family, a depth, a kind of work and an execution; and selections of them."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.batches import random_batch
from flax_lite.architecture.config import EncoderConfig
from flax_lite.families.albert import AlbertConfig
from flax_lite.families.bert import BertConfig
from flax_lite.families.distilbert import DistilBertConfig

FAMILIES: Mapping[str, type[EncoderConfig]] = {
    "albert": AlbertConfig,
    "bert": BertConfig,
    "distilbert": DistilBertConfig,
}
KINDS = ("forward", "pretraining", "distillation")
REMATS = ("none", "dots", "full")
_HEAD_WIDTH = 64
# google-research/albert and google-research/bert shorten one example in ten; here one in four: small batches have some.
_SHORT_EVERY = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes that all cases of one series share.

    Attributes:
        vocab_size: V.
        hidden_size: D; the feed-forward width F is 4 D, as in all three papers, and the head width H is 64.
        embedding_size: ALBERT's E.
        batch_size: B, of one device.
        sequence_length: T.
        max_predictions: P.
    """

    vocab_size: int = 8000
    hidden_size: int = 256
    embedding_size: int = 128
    batch_size: int = 8
    sequence_length: int = 128
    max_predictions: int = 20


SMOKE_SIZES = Sizes(
    vocab_size=50, hidden_size=16, embedding_size=8, batch_size=4, sequence_length=16, max_predictions=3
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One program.

    Attributes:
        family: a key of FAMILIES; in a distillation the student's.
        kind: one of KINDS.
        num_layers: depth; in a distillation the teacher's, the student has half of it.
        unroll: layers per iteration of the scan, 0 for all.
        remat: what the backward pass recomputes.
    """

    family: str
    kind: str = "pretraining"
    num_layers: int = 12
    unroll: int = 1
    remat: str = "none"

    @property
    def order(self) -> tuple[int | str, ...]:
        """The sort key of tables: kind, family, execution, depth."""
        unroll = (self.unroll == 0, self.unroll)
        return KINDS.index(self.kind), self.family, REMATS.index(self.remat), *unroll, self.num_layers

    def __str__(self) -> str:
        return f"{self.family}, {self.kind}, {self.num_layers} layers, {describe_execution(self.unroll, self.remat)}"


def describe_execution(unroll: int, remat: str) -> str:
    """Formats an execution in two or three words."""
    how = {0: "unrolled", 1: "scanned"}.get(unroll, f"{unroll} at a time")
    return how if remat == "none" else f"{how}, remat {remat}"


def model_config(family: str, num_layers: int, sizes: Sizes) -> EncoderConfig:
    """Returns the architecture, with dropout 0.1 as in all three papers."""
    extra: dict[str, Any] = {"embedding_size": sizes.embedding_size} if family == "albert" else {}
    return FAMILIES[family](
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=max(1, sizes.hidden_size // _HEAD_WIDTH),
        intermediate_size=4 * sizes.hidden_size,
        max_position_embeddings=sizes.sequence_length,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        **extra,
    )


def make_batch(sizes: Sizes, rows: int) -> dict[str, np.ndarray]:
    """Draws a batch [B = rows, T] in which every fourth row is shortened and padded."""
    length = sizes.sequence_length
    lengths = np.full(rows, length)
    short = lengths[::_SHORT_EVERY]
    short[:] = np.random.default_rng(1).integers(max(2, length // 4), max(3, length), len(short))
    return random_batch(lengths, length, sizes.vocab_size, sizes.max_predictions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """All combinations of these values."""

    families: Sequence[str] = tuple(FAMILIES)
    kinds: Sequence[str] = ("pretraining",)
    depths: Sequence[int] = (12,)
    unrolls: Sequence[int] = (1,)
    remats: Sequence[str] = ("none",)


EVERYTHING = Selection(kinds=KINDS, depths=(6, 12, 24), unrolls=(1, 2, 4, 0), remats=REMATS)
# One slice of that product per question.
DEFAULT = (
    Selection(depths=(6, 12, 24), unrolls=(1, 0)),
    Selection(unrolls=(2, 4)),
    Selection(depths=(6, 24), remats=("dots", "full")),
    Selection(kinds=("forward", "distillation"), unrolls=(1, 0)),
)
# Without an optimizer, which takes longest to compile.
SMOKE = (Selection(families=("albert",), kinds=("forward",), depths=(3,), unrolls=(1, 0)),)


def cases(selections: Iterable[Selection]) -> list[Case]:
    """Returns the distinct cases, roughly the cheapest first.

    A scan whose iteration has all layers counts as unrolled. A forward pass has nothing to recompute, so remat does not
    vary there.
    """
    found: set[Case] = set()
    for one in selections:
        for family, kind, depth, unroll, remat in itertools.product(
            one.families, one.kinds, one.depths, one.unrolls, one.remats
        ):
            if kind == "forward" and remat != "none":
                continue
            unrolled = 0 if 1 < depth <= unroll else unroll
            found.add(Case(family=family, kind=kind, num_layers=depth, unroll=unrolled, remat=remat))
    return sorted(found, key=lambda case: (case.unroll == 0, case.num_layers, case.order))
