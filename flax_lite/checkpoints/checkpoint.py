"""An open checkpoint of any format, and the conventions of the frameworks that write them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.weights import Weight
from flax_lite.checkpoints.formats.tensors import Tensors


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a framework names and orients the parameters of a module.

    Attributes:
        name: for messages.
        leaves: the file's name of each kind of parameter (kernel, bias, scale, embedding).
        transposed: kinds of parameters that are stored with their two axes swapped: a PyTorch Linear is [out, in].
        legacy: current name of a parameter, by its name in older files.
        stores_copies: whether files repeat the values of a row's `copies`.
        stores_formulas: whether files hold tables that are computed from a row's `formula`.
    """

    name: str
    leaves: Mapping[str, str]
    transposed: frozenset[str] = frozenset()
    legacy: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stores_copies: bool = False
    stores_formulas: bool = False

    @property
    def separator(self) -> str:
        """The character between the parts of a name."""
        return "."

    def tensor_names(self, row: "Weight") -> tuple[str, ...]:
        """Returns the name of a row's tensor in the file, then the names of its copies."""
        return tuple(f"{module}.{self.leaves[row.leaf]}" for module in (row.module, *row.copies))

    def is_transposed(self, row: "Weight") -> bool:
        """Whether the file stores the two axes of a row's tensor swapped."""
        return row.leaf in self.transposed

    def below_prefix(self, prefix: str, name: str) -> str:
        """Returns the name that an encoder's tensor has in a task checkpoint of the family with this prefix."""
        return f"{prefix}.{name}"

    def current_name(self, name: str) -> str:
        """Returns a tensor name with an older ending replaced by the current one."""
        module, _, leaf = name.rpartition(".")
        return f"{module}.{self.legacy[leaf]}" if leaf in self.legacy else name


class GoogleConvention(Convention):
    """Names of the TensorFlow 1 variables of Google's BERT and ALBERT, which the rows hold in full.

    Kernels are [in, out] as in Flax, except for the variables `output_weights` of output layers.
    """

    @property
    def separator(self) -> str:
        """The character between the parts of a name."""
        return "/"

    def tensor_names(self, row: "Weight") -> tuple[str, ...]:
        """Returns the name of a row's tensor; these files have no copies."""
        return (row.google,)

    def is_transposed(self, row: "Weight") -> bool:
        """Whether the file stores the two axes of a row's tensor swapped."""
        return row.google.rpartition("/")[2] == "output_weights"

    def below_prefix(self, prefix: str, name: str) -> str:
        """Returns the name of an encoder's tensor; the scope is "bert" for ALBERT too."""
        return f"bert/{name}"

    def current_name(self, name: str) -> str:
        """Returns a tensor name without the scope "module" of TF-Hub's modules."""
        return name.removeprefix("module/")


FLAX = Convention("flax", leaves={name: name for name in ("kernel", "bias", "scale", "embedding")})


TORCH = Convention(
    "torch",
    leaves={"kernel": "weight", "bias": "bias", "scale": "weight", "embedding": "weight"},
    transposed=frozenset({"kernel"}),
    # Checkpoints converted from Google's have TensorFlow's names for the parameters of LayerNorm.
    legacy={"gamma": "weight", "beta": "bias"},
    stores_copies=True,
    # transformers' PyTorch class reports a missing sinusoidal table as missing; its Flax class has no such parameter.
    stores_formulas=True,
)


GOOGLE = GoogleConvention("google", leaves={})


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint opened for reading.

    Attributes:
        path: the file of the weights.
        config: the configuration in config.json.
        tensors: by their names in the file, with dots between the parts (Google's: slashes).
        convention: names and orientation of the tensors.
        custom_head: parameters of a head without rows in the weight table, by path in the head, from the step of a work
            directory; other sources store such a head in a separate file.
        head_file: tensors of that separate file, opened together with the weights, so that both are from one save; None
            without such a file.
    """

    path: Path
    config: EncoderConfig
    tensors: Tensors
    convention: Convention
    custom_head: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    head_file: Tensors | None = None
