"""What is measured: a model's pretraining step on rows of a length, so many of them, computed in a certain way."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.compile_vs_run.cases import Sizes, describe_execution, make_batch
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import preset
from flax_lite.layers.execution import Execution
from flax_lite.models.flops import Costs
from train.machine.chips import CHIPS

TORCH_TARGET = 1.2  # times PyTorch's tokens a second


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """How flax_lite computes a step: fields of `flax_lite.Execution`."""

    unroll: int = 1
    attention: str = "xla"
    remat: str = "none"
    deterministic: bool = False

    def execution(self, dtype: str) -> Execution:
        """With the dtype that all settings share."""
        return Execution(dtype=dtype, **dataclasses.asdict(self))  # type: ignore[arg-type]

    def __str__(self) -> str:
        said = f"{describe_execution(self.unroll, self.remat)}, {self.attention}"
        return f"{said}, deterministic" if self.deterministic else said


PLAIN = Setting()


class Group(NamedTuple):
    """A model on rows of a length: what a target is set for."""

    model: str
    length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One step.

    Attributes:
        model: a key of `Work.models`.
        length: T.
        rows: B.
        setting: None is PyTorch, compiled.
    """

    model: str
    length: int
    rows: int
    setting: Setting | None = PLAIN

    @property
    def group(self) -> Group:
        """What it belongs to."""
        return Group(self.model, self.length)

    def __str__(self) -> str:
        how = "PyTorch" if self.setting is None else str(self.setting)
        return f"{self.model}, {self.rows} rows of {self.length}, {how}"


def case_of(record: Mapping[str, Any]) -> Case:
    """A case from its record."""
    setting = record["setting"]
    return Case(**{**record, "setting": None if setting is None else Setting(**setting)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A model and what is hoped for.

    Attributes:
        title: what tables call it.
        preset: its architecture.
        target: model FLOPs utilization.
        tokens: of a step, in the order in which they are tried.
    """

    title: str
    preset: str
    target: float
    tokens: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """Sizes of everything.

    Attributes:
        models: by name, the most important first.
        predictions: P of each T.
        changes: of every preset.
        dtype: of activations.
        steps: that are timed.
        products: width of the matrices whose product is the floor.
        remats: what is compared with keeping all activations.
    """

    models: Mapping[str, Model]
    predictions: Mapping[int, int]
    changes: Mapping[str, Any]
    dtype: str
    steps: int
    products: int
    remats: tuple[str, ...]

    def config(self, model: str) -> EncoderConfig:
        """The architecture of a model."""
        return preset(self.models[model].preset, **self.changes)

    def default(self, model: str) -> Setting:
        """What `flax_lite.Execution` chooses for a model on a GPU by itself: all models here have 12 layers at most."""
        chosen = Execution(dtype=self.dtype, unroll="auto").resolve(len(self.config(model).layer_sequence()), _GPU)  # type: ignore[arg-type]
        drops = self.config(model).attention_probs_dropout_prob > 0
        return Setting(unroll=0, attention="xla" if drops else chosen.attention)

    def rows(self, group: Group) -> list[int]:
        """Rows of a step, in the order in which they are tried."""
        return [tokens // group.length for tokens in self.models[group.model].tokens]

    def batch(self, case: Case) -> dict[str, np.ndarray]:
        """The batch of a case: words by chance, every fourth row padded."""
        sizes = Sizes(
            vocab_size=self.config(case.model).vocab_size,
            sequence_length=case.length,
            max_predictions=self.predictions[case.length],
        )
        return make_batch(sizes, case.rows)

    def flops(self, case: Case) -> float:
        """Model FLOPs of a step; what is recomputed does not count."""
        costs = Costs(config=self.config(case.model), execution=Execution(), predictions=self.predictions[case.length])
        return costs.flops({"input_ids": np.broadcast_to(np.int32(0), (case.rows, case.length))})


_GPU = CHIPS["h100"]
# ALBERT's second version has no dropout, so that cuDNN's fused attention is open to it. Without remat a token of
# xxlarge holds about five times what one of a base model holds: fewer are tried.
_BASE_TOKENS = (2**15, 2**16, 2**17)
_XXLARGE_TOKENS = (2**13, 2**14, 2**15)
_MODELS = {
    "albert_xxlarge": Model(title="ALBERT-xxlarge", preset="albert-xxlarge-v2", target=0.50, tokens=_XXLARGE_TOKENS),
    "albert_base": Model(title="ALBERT-base", preset="albert-base-v2", target=0.45, tokens=_BASE_TOKENS),
    "bert_base": Model(title="BERT-base", preset="bert-base-uncased", target=0.45, tokens=_BASE_TOKENS),
}
REAL = Work(
    models=_MODELS,
    predictions={128: 20, 512: 77},  # as published for 128; 15% of 512, as configs/albert_base.py has it
    changes={},
    dtype="bfloat16",
    steps=12,
    products=8192,
    remats=("dots", "full"),
)
SMOKE = Work(
    models={name: dataclasses.replace(model, tokens=(64, 128)) for name, model in _MODELS.items()},
    predictions={16: 3, 32: 5},
    changes={
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    },
    dtype="float32",
    steps=3,
    products=64,
    remats=("full",),
)
WORKS: Mapping[str, Work] = {"real": REAL, "smoke": SMOKE}
