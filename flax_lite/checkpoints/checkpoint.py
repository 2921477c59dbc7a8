"""A checkpoint opened for reading, whatever its format."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import Weight
from flax_lite.checkpoints.formats.tensors import Tensors


@dataclasses.dataclass(frozen=True)
class Convention:
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


class GoogleConvention(Convention):
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


FLAX = Convention("flax", leaves={name: name for name in ("kernel", "bias", "scale", "embedding")})


TORCH = Convention(
    "torch",
    leaves={"kernel": "weight", "bias": "bias", "scale": "weight", "embedding": "weight"},
    transposed=frozenset({"kernel"}),
    # Checkpoints of Google's origin name LayerNorm's parameters as TensorFlow does.
    legacy={"gamma": "weight", "beta": "bias"},
    stores_copies=True,
    # PyTorch reports a sinusoidal model's position table as missing if it is absent; HF Flax has no such parameter.
    stores_formulas=True,
)


GOOGLE = GoogleConvention("google", leaves={})


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint opened for reading.

    Attributes:
        path: the file that holds the weights.
        config: what config.json says.
        tensors: by their names in the file, dots between the parts.
        convention: how the file names and orients them.
        custom_head: parameters, by path below it, of a head that no family's table has rows for; only a work directory
            holds one so, elsewhere it has a file of its own beside the weights.
        head_file: the tensors of that file, opened with the weights, so that both are of one save; None without one.
    """

    path: Path
    config: EncoderConfig
    tensors: Tensors
    convention: Convention
    custom_head: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    head_file: Tensors | None = None
