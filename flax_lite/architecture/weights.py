"""Weight tables as data: which tensor of a checkpoint is which parameter. The same rows serve reading and writing.

A row joins a parameter path of flax_lite with a module name of Hugging Face. Hugging Face's Flax and PyTorch classes
use the same module names; they differ in what a module's parameters are called and in the orientation of a Dense
kernel, which is what a convention says (`flax_lite.checkpoints.checkpoint`). So a family needs one table, and these two
conventions no rows of their own. Google's TensorFlow checkpoints have other names for some modules; a row says both.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

LAYERS = "layers/{layer}/"


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
    formula: "Callable[[int, int], np.ndarray] | None" = None

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


def embedding(path: str, module: str, formula: "Callable[[int, int], np.ndarray] | None" = None) -> tuple[Weight, ...]:
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


def sinusoidal_positions(num_positions: int, width: int) -> "Float[np.ndarray, 'T D']":
    """Sine and cosine of t / 10000^(2 floor(j / 2) / D), alternating over the columns j; float32.

    Source: transformers, distilbert/modeling_distilbert.py, create_sinusoidal_embeddings.
    """
    import numpy as np  # here, for `import flax_lite` reads this module

    columns = np.arange(width)
    angles = np.arange(num_positions)[:, None] / np.power(10000, 2 * (columns // 2) / width)[None, :]
    return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
