"""What is measured: a family at a depth, doing a kind of work, under an execution; and which cases are asked for."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes that all cases of one measurement share.

    Attributes:
        vocab_size: V.
        hidden_size: D; the feed-forward width is 4 D, as in all three papers, and a head is 64 wide.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One program.

    Attributes:
        family: one of FAMILIES; in a distillation the student's.
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
        """Sorts cases: those that differ in execution alone are neighbors, and of these those that differ in depth."""
        unroll = (self.unroll == 0, self.unroll)
        return KINDS.index(self.kind), self.family, REMATS.index(self.remat), *unroll, self.num_layers

    def __str__(self) -> str:
        return f"{self.family}, {self.kind}, {self.num_layers} layers, {describe_execution(self.unroll, self.remat)}"


def describe_execution(unroll: int, remat: str) -> str:
    """An execution in two words or three."""
    how = {0: "unrolled", 1: "scanned"}.get(unroll, f"{unroll} at a time")
    return how if remat == "none" else f"{how}, remat {remat}"


def model_config(family: str, num_layers: int, sizes: Sizes) -> EncoderConfig:
    """The architecture, with a dropout of 0.1 as all three papers' training has it."""
    own: dict[str, Any] = {"embedding_size": sizes.embedding_size} if family == "albert" else {}
    return FAMILIES[family](
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=max(1, sizes.hidden_size // _HEAD_WIDTH),
        intermediate_size=4 * sizes.hidden_size,
        max_position_embeddings=sizes.sequence_length,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        **own,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """All combinations of what is given here."""

    families: Sequence[str] = tuple(FAMILIES)
    kinds: Sequence[str] = ("pretraining",)
    depths: Sequence[int] = (12,)
    unrolls: Sequence[int] = (1,)
    remats: Sequence[str] = ("none",)


EVERYTHING = Selection(kinds=KINDS, depths=(6, 12, 24), unrolls=(1, 2, 4, 0), remats=REMATS)
# Cuts through that product, one for each question.
DEFAULT = (
    Selection(depths=(6, 12, 24), unrolls=(1, 0)),
    Selection(unrolls=(2, 4)),
    Selection(depths=(6, 24), remats=("dots", "full")),
    Selection(kinds=("forward", "distillation"), unrolls=(1, 0)),
)
# Without an optimizer, whose compilation takes longest.
SMOKE = (Selection(families=("albert",), kinds=("forward",), depths=(3,), unrolls=(1, 0)),)


def cases(selections: Iterable[Selection]) -> list[Case]:
    """The cases, each once, cheapest first as far as that is known.

    A scan of as many layers at a time as there are is an unrolled stack. A forward pass has nothing to recompute: it is
    taken without remat alone.
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
