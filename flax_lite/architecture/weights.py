"""Weight tables as data: one row for each parameter, used for reading and for writing checkpoints.

A row maps a parameter path of flax_lite to a module name of Hugging Face and a variable name of Google. Rows are in the
order of the module tree. Hugging Face's Flax and PyTorch classes use the same module names and differ in the names of
the parameters and in the orientation of Dense kernels; both follow from a convention of the file
(`flax_lite.checkpoints.checkpoint.Convention`), so one row serves all three, in both directions.
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
    """One row: a parameter and its names in the files of Hugging Face and of Google.

    Attributes:
        path: parameter path in the encoder or, for a head, in the task model; `layers/{layer}/...` means every
            physical layer.
        module: Hugging Face's module, without the family's prefix; may contain {layer}, or {group} and {inner}.
        google: Google's variable, without "bert/"; same placeholders.
        copies: modules that repeat the values: written with equal values; when read, the last one takes precedence.
        tied_to: path in the task model of the parameter that equals this one, transposed, if embeddings are tied.
        formula: computes the values from their shape, for a table that is learned or fixed depending on the config.
    """

    path: str
    module: str
    google: str
    copies: tuple[str, ...] = ()
    tied_to: str | None = None
    formula: "Callable[[int, int], np.ndarray] | None" = None

    @property
    def leaf(self) -> str:
        """Last part of the path: kernel, bias, scale or embedding."""
        return self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class WeightTable:
    """The rows of a family.

    Attributes:
        family: prefix of Hugging Face's class names.
        prefix: module of the encoder in task checkpoints, equal to config.json's `model_type`; base checkpoints have no
            prefix.
        encoder: rows of the encoder.
        heads: rows of every head.
        buffers: tensors of the encoder that are no parameters (persistent buffers of older transformers versions):
            ignored when read, never written.
    """

    family: str
    prefix: str
    encoder: tuple[Weight, ...]
    heads: tuple[Weight, ...]
    buffers: tuple[str, ...] = ("embeddings.position_ids", "embeddings.token_type_ids")


def dense(path: str, module: str, google: str | None = None) -> tuple[Weight, ...]:
    """Returns the rows of a Dense layer; `google` is Google's scope, by default `module` with slashes."""
    scope = google or module.replace(".", "/")
    return tuple(Weight(f"{path}/{leaf}", module, f"{scope}/{leaf}") for leaf in ("kernel", "bias"))


def output(path: str, module: str, google: str = "") -> tuple[Weight, ...]:
    """Returns the rows of an output layer: a Dense layer that is two variables in Google's code (`tf.get_variable`)."""
    leaves = {"kernel": "output_weights", "bias": "output_bias"}
    return tuple(Weight(f"{path}/{leaf}", module, f"{google}/{name}".lstrip("/")) for leaf, name in leaves.items())


def layer_norm(path: str, module: str, google: str | None = None) -> tuple[Weight, ...]:
    """Returns the rows of a LayerNorm."""
    scope = google or module.replace(".", "/")
    leaves = {"scale": "gamma", "bias": "beta"}
    return tuple(Weight(f"{path}/{leaf}", module, f"{scope}/{name}") for leaf, name in leaves.items())


def embedding(path: str, module: str, formula: "Callable[[int, int], np.ndarray] | None" = None) -> tuple[Weight, ...]:
    """Returns the row of an embedding table."""
    return (Weight(f"{path}/embedding", module, module.replace(".", "/"), formula=formula),)


def decoder(path: str, module: str) -> tuple[Weight, ...]:
    """Returns the row of a decoder kernel, which is the word-embedding table if embeddings are tied."""
    tied_to = "encoder/embeddings/word/embedding"
    return (Weight(f"{path}/kernel", module, f"{module.replace('.', '/')}/kernel", tied_to=tied_to),)


def bias(path: str, module: str, copies: tuple[str, ...] = (), google: str | None = None) -> tuple[Weight, ...]:
    """Returns the row of a bias without a kernel."""
    scope = google or module.replace(".", "/")
    return (Weight(f"{path}/bias", module, f"{scope}/output_bias", copies=copies),)


def layers(module: str, rows: tuple[Weight, ...], google: str | None = None) -> tuple[Weight, ...]:
    """Turns rows of one layer into rows of all physical layers; `module` has {layer}, or {group} and {inner}."""
    scope = google or module.replace(".", "/")
    return tuple(
        dataclasses.replace(
            row, path=f"{LAYERS}{row.path}", module=f"{module}.{row.module}", google=f"{scope}/{row.google}"
        )
        for row in rows
    )


def sinusoidal_positions(num_positions: int, width: int) -> "Float[np.ndarray, 'T D']":
    """Returns sine and cosine of t / 10000^(2 floor(j / 2) / D), alternating over the columns j, in float32.

    Source: transformers, distilbert/modeling_distilbert.py, create_sinusoidal_embeddings.
    """
    import numpy as np  # lazy: `import flax_lite` imports this module, and must stay quick

    columns = np.arange(width)
    angles = np.arange(num_positions)[:, None] / np.power(10000, 2 * (columns // 2) / width)[None, :]
    return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)
