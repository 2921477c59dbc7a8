"""Weight tables as data: which tensor of a checkpoint is which parameter. The same rows serve reading and writing.

A row joins a parameter path of flax_lite with a module name of Hugging Face. Hugging Face's Flax and PyTorch classes
use the same module names; they differ in what a module's parameters are called and in the orientation of a Dense
kernel, which is what a `Dialect` says. So a family needs one table, and these two dialects no rows of their own.
Google's TensorFlow checkpoints have other names for some modules; a row says both.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flax_lite.architecture.config import EncoderConfig

LAYERS = "layers/{layer}/"


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How one kind of file names and orients the parameters of a module.

    Attributes:
        name: for messages.
        leaves: the file's name of a parameter, by ours.
        transposed: parameters stored with their two axes swapped: a PyTorch Linear is [out, in].
        legacy: endings of older files, by what they are now.
        stores_copies: whether files repeat values under a second name, where a table says so (`Weight.copies`).
        stores_formulas: whether files hold tables that follow from a formula (`Weight.formula`).
    """

    name: str
    leaves: Mapping[str, str]
    transposed: frozenset[str] = frozenset()
    legacy: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stores_copies: bool = False
    stores_formulas: bool = False

    @property
    def separator(self) -> str:
        """What stands between the parts of a name."""
        return "."

    def tensor_names(self, row: "Weight") -> tuple[str, ...]:
        """The file's name of a row's tensor, then those of its copies."""
        return tuple(f"{module}.{self.leaves[row.leaf]}" for module in (row.module, *row.copies))

    def is_transposed(self, row: "Weight") -> bool:
        """Whether the file swaps the two axes of a row's tensor."""
        return row.leaf in self.transposed

    def below_prefix(self, prefix: str, name: str) -> str:
        """The name of a tensor of the encoder in a task checkpoint of the family with this prefix."""
        return f"{prefix}.{name}"

    def current_name(self, name: str) -> str:
        """A tensor name with an older ending brought up to date."""
        module, _, leaf = name.rpartition(".")
        return f"{module}.{self.legacy[leaf]}" if leaf in self.legacy else name


class GoogleDialect(Dialect):
    """TensorFlow 1 variables as Google's BERT and ALBERT name them: whole names, which the rows hold.

    Kernels are [in, out] as in Flax, but for the bare variables that its output layers are made of.
    """

    @property
    def separator(self) -> str:
        """What stands between the parts of a name."""
        return "/"

    def tensor_names(self, row: "Weight") -> tuple[str, ...]:
        """The file's name of a row's tensor; it holds nothing twice."""
        return (row.google,)

    def is_transposed(self, row: "Weight") -> bool:
        """Whether the file swaps the two axes of a row's tensor."""
        return row.google.rpartition("/")[2] == "output_weights"

    def below_prefix(self, prefix: str, name: str) -> str:
        """The name of a tensor of the encoder; ALBERT's too is called bert."""
        return f"bert/{name}"

    def current_name(self, name: str) -> str:
        """A tensor name without the scope that TF-Hub's modules put around all of them."""
        return name.removeprefix("module/")


FLAX = Dialect("flax", leaves={name: name for name in ("kernel", "bias", "scale", "embedding")})
TORCH = Dialect(
    "torch",
    leaves={"kernel": "weight", "bias": "bias", "scale": "weight", "embedding": "weight"},
    transposed=frozenset({"kernel"}),
    # Checkpoints of Google's origin name LayerNorm's parameters as TensorFlow does.
    legacy={"gamma": "weight", "beta": "bias"},
    stores_copies=True,
    # PyTorch reports a sinusoidal model's position table as missing if it is absent; HF Flax has no such parameter.
    stores_formulas=True,
)
GOOGLE = GoogleDialect("google", leaves={})


@dataclasses.dataclass(frozen=True)
class Weight:
    """One row: a parameter, and the Hugging Face module that holds it.

    Attributes:
        path: parameter path below the encoder or, for a head, below the task model; `layers/{layer}/...` stands for
            every physical layer.
        module: module name below the family's prefix or, for a head, below the root; may hold {layer}, or {group} and
            {inner}.
        copies: modules that hold the same values once more: written equal, and on reading the last one present wins.
        tied_to: path in the task model of the parameter that this one equals, transposed, where embeddings are tied.
        formula: gives the values from their shape, for a table that a config may fix instead of learning it.
        google: Google's name of the tensor below "bert/" or, for a head, below the root; same placeholders.
    """

    path: str
    module: str
    google: str
    copies: tuple[str, ...] = ()
    tied_to: str | None = None
    formula: Callable[[int, int], np.ndarray] | None = None

    @property
    def leaf(self) -> str:
        """The parameter's own name: kernel, bias, scale or embedding."""
        return self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class WeightTable:
    """The rows of a family.

    Attributes:
        family: how Hugging Face's class names begin.
        prefix: module that holds the encoder in task checkpoints, named like config.json's `model_type`; base
            checkpoints do not have it.
        encoder: rows below that prefix.
        heads: rows of every head.
        buffers: tensors below the prefix that are no parameters; dropped on reading, never written.
    """

    family: str
    prefix: str
    encoder: tuple[Weight, ...]
    heads: tuple[Weight, ...]
    buffers: tuple[str, ...] = ("embeddings.position_ids", "embeddings.token_type_ids")


def dense(path: str, module: str, google: str | None = None) -> tuple[Weight, ...]:
    """Rows of a Dense layer. Here and below, `google` is Google's module, where it is not `module` with slashes."""
    scope = google or module.replace(".", "/")
    return tuple(Weight(f"{path}/{leaf}", module, f"{scope}/{leaf}") for leaf in ("kernel", "bias"))


def output(path: str, module: str, google: str = "") -> tuple[Weight, ...]:
    """Rows of an output layer: a Dense layer, but in Google's code two bare variables (`tf.get_variable`)."""
    leaves = {"kernel": "output_weights", "bias": "output_bias"}
    return tuple(Weight(f"{path}/{leaf}", module, f"{google}/{name}".lstrip("/")) for leaf, name in leaves.items())


def layer_norm(path: str, module: str, google: str | None = None) -> tuple[Weight, ...]:
    """Rows of a LayerNorm."""
    scope = google or module.replace(".", "/")
    leaves = {"scale": "gamma", "bias": "beta"}
    return tuple(Weight(f"{path}/{leaf}", module, f"{scope}/{name}") for leaf, name in leaves.items())


def embedding(path: str, module: str, formula: Callable[[int, int], np.ndarray] | None = None) -> tuple[Weight, ...]:
    """The row of an embedding table."""
    return (Weight(f"{path}/embedding", module, module.replace(".", "/"), formula=formula),)


def decoder(path: str, module: str) -> tuple[Weight, ...]:
    """The row of a decoder's kernel, which is the word-embedding table where embeddings are tied."""
    tied_to = "encoder/embeddings/word/embedding"
    return (Weight(f"{path}/kernel", module, f"{module.replace('.', '/')}/kernel", tied_to=tied_to),)


def bias(path: str, module: str, copies: tuple[str, ...] = (), google: str | None = None) -> tuple[Weight, ...]:
    """The row of a bias that stands alone."""
    scope = google or module.replace(".", "/")
    return (Weight(f"{path}/bias", module, f"{scope}/output_bias", copies=copies),)


def layers(module: str, rows: tuple[Weight, ...], google: str | None = None) -> tuple[Weight, ...]:
    """Rows of one physical layer as rows of every layer; `module` holds {layer}, or {group} and {inner}."""
    scope = google or module.replace(".", "/")
    return tuple(
        dataclasses.replace(
            row, path=f"{LAYERS}{row.path}", module=f"{module}.{row.module}", google=f"{scope}/{row.google}"
        )
        for row in rows
    )


def weight_tables() -> tuple[WeightTable, ...]:
    """The tables of all families."""
    from flax_lite.families import albert, bert, distilbert

    return (albert.WEIGHTS, bert.WEIGHTS, distilbert.WEIGHTS)


def weight_table(config: "EncoderConfig") -> WeightTable:
    """The table of a configuration's family."""
    return next(table for table in weight_tables() if table.prefix == config.model_type)
