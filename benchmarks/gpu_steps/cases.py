"""Cases: the pretraining step of a model, with a number of rows of a length, under a setting."""

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
    """Fields of `flax_lite.Execution` that vary."""

    unroll: int = 1
    attention: str = "xla"
    remat: str = "none"
    deterministic: bool = False

    def execution(self, dtype: str) -> Execution:
        """Returns the execution in a dtype."""
        return Execution(dtype=dtype, **dataclasses.asdict(self))  # type: ignore[arg-type]

    def __str__(self) -> str:
        text = f"{describe_execution(self.unroll, self.remat)}, {self.attention}"
        return f"{text}, deterministic" if self.deterministic else text


PLAIN = Setting()


class Group(NamedTuple):
    """A model and a length, for which a target is set."""

    model: str
    length: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One step to measure.

    Attributes:
        model: a key of `Work.models`.
        length: T.
        rows: B.
        setting: None for PyTorch, compiled.
    """

    model: str
    length: int
    rows: int
    setting: Setting | None = PLAIN

    @property
    def group(self) -> Group:
        """The group that it belongs to."""
        return Group(self.model, self.length)

    def __str__(self) -> str:
        how = "PyTorch" if self.setting is None else str(self.setting)
        return f"{self.model}, {self.rows} rows of {self.length}, {how}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A model and its target.

    Attributes:
        title: its name in tables.
        preset: of its architecture.
        target: model FLOPs utilization.
        tokens: per step, in the order in which they are tried.
    """

    title: str
    preset: str
    target: float
    tokens: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """The sizes of all cases.

    Attributes:
        models: by name, the most important first.
        predictions: P for each T.
        changes: to every preset.
        dtype: of activations.
        steps: number of timed steps.
        products: width of the matrices whose product gives the floor.
        remats: policies that are compared with keeping all activations.
    """

    models: Mapping[str, Model]
    predictions: Mapping[int, int]
    changes: Mapping[str, Any]
    dtype: str
    steps: int
    products: int
    remats: tuple[str, ...]

    def config(self, model: str) -> EncoderConfig:
        """Returns the architecture of a model."""
        return preset(self.models[model].preset, **self.changes)

    def default(self, model: str) -> Setting:
        """Returns the setting that `flax_lite.Execution` chooses on a GPU; all models here have 12 layers at most."""
        chosen = Execution(dtype=self.dtype, unroll="auto").resolve(len(self.config(model).layer_sequence()), _GPU)  # type: ignore[arg-type]
        drops = self.config(model).attention_probs_dropout_prob > 0
        return Setting(unroll=0, attention="xla" if drops else chosen.attention)

    def rows(self, group: Group) -> list[int]:
        """Returns numbers of rows per step, in the order in which they are tried."""
        return [tokens // group.length for tokens in self.models[group.model].tokens]

    def batch(self, case: Case) -> dict[str, np.ndarray]:
        """Draws the batch of a case: random words, every fourth row padded."""
        sizes = Sizes(
            vocab_size=self.config(case.model).vocab_size,
            sequence_length=case.length,
            max_predictions=self.predictions[case.length],
        )
        return make_batch(sizes, case.rows)

    def flops(self, case: Case) -> float:
        """Returns the model FLOPs of a step, without recomputation."""
        costs = Costs(config=self.config(case.model), execution=Execution(), predictions=self.predictions[case.length])
        return costs.flops({"input_ids": np.broadcast_to(np.int32(0), (case.rows, case.length))})


_GPU = CHIPS["h100"]
# ALBERT's second version has no dropout, so it can use cuDNN's fused attention. Without remat a token of xxlarge takes
# about five times the memory of a base model's: fewer are tried.
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
