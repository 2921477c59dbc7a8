"""The teacher of a distillation: loading, trimming its vocabulary, placing it on the devices."""

import dataclasses
import functools
import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from flax_lite.architecture.config import DEFAULT_LABELS, EncoderConfig
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.distillation.vocabulary import trim_config, trim_params
from flax_lite.families.bert import BertConfig
from flax_lite.layers.execution import Execution
from flax_lite.models.contents import survey
from flax_lite.models.encoder import Encoder
from flax_lite.models.heads import MaskedLM
from flax_lite.models.params import abstract_params, get_params, path_name, tree_shardings
from flax_lite.tokenization import Tokenizer
from train.errors import UserError
from train.options.tables import RANDOM

# The sizes of `random_teacher`: those of the smoke runs, twice as deep.
_RANDOM_SIZES = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher with fixed parameters.

    Attributes:
        source: the model's path or hub id.
        config: the architecture.
        params: float32 NumPy arrays: the parameters of a MaskedLM if `predicts_words`, else of an Encoder.
        predicts_words: whether it has its masked-LM head.
    """

    source: str
    config: EncoderConfig
    params: Any
    predicts_words: bool

    @property
    def model_class(self) -> type[MaskedLM] | type[Encoder]:
        """The model class."""
        return MaskedLM if self.predicts_words else Encoder

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of architecture and parameters, independent of the source."""
        return fingerprint(self.config, self.params, words=self.predicts_words)

    def structure(self, execution: Execution) -> nnx.GraphDef:
        """Returns the model's graph definition."""
        make = functools.partial(self.model_class, self.config, execution=execution)
        return nnx.graphdef(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))

    def placed(self, mesh: Mesh, dtype: jax.typing.DTypeLike) -> Any:
        """Returns the parameters in a dtype, on a mesh, with large arrays sharded over its axis "fsdp"."""
        params = jax.tree.map(lambda array: array.astype(jnp.dtype(dtype)), self.params)
        return jax.device_put(params, tree_shardings(params, mesh))

    def trimmed(self, kept: tuple[int, ...]) -> "Teacher":
        """Returns the teacher with only the `kept` vocabulary entries."""
        return dataclasses.replace(self, config=trim_config(self.config, kept), params=trim_params(self.params, kept))


def fingerprint(config: EncoderConfig, params: Any, **more: Any) -> str:
    """Returns a SHA-256 of architecture, parameters and `more`, independent of the source."""
    described = {**config.replace(extra={}, architectures=()).to_json_dict(), **more}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for path, array in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{path_name(path)} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def open_teacher(source: str | None, *, read_words: bool, need_words: bool) -> Teacher:
    """Loads a teacher.

    Args:
        source: the option `teacher`.
        read_words: whether to load its masked-LM head, if it has one.
        need_words: whether the losses need that head.

    Raises:
        UserError: if no teacher is given, it cannot be read, or it lacks that head.
    """
    if source is None:
        raise UserError("no teacher: give --config.teacher=SOURCE, a directory, a work directory or a hub id")
    try:
        checkpoint = open_source(source)  # once, so that heads and parameters are of the same step
        heads = survey(checkpoint).heads
        if need_words and "masked_lm_head" not in heads:
            raise UserError(
                f"teacher={source} has no masked-LM head ({', '.join(heads) or 'no head'}), and losses on logits "
                "need one: give another teacher, or losses.soft_cross_entropy=0 and losses.logit_mse=0"
            )
        predicts_words = read_words and "masked_lm_head" in heads
        model: MaskedLM | Encoder = (MaskedLM if predicts_words else Encoder).from_pretrained(checkpoint)
    except (ValueError, OSError) as error:
        raise UserError(f"teacher={source}: {error}") from error
    config = model.config.replace(labels=DEFAULT_LABELS, problem_type=None)
    return Teacher(source, config, jax.device_get(get_params(model)), predicts_words)


def random_teacher(tokenizer: Tokenizer, *, predicts_words: bool) -> Teacher:
    """Returns a tiny BERT with random parameters, always the same, to try a distillation without a teacher.

    Args:
        tokenizer: the tokenizer of the data.
        predicts_words: whether it has a masked-LM head.
    """
    config = BertConfig.from_preset("bert-tiny", **_RANDOM_SIZES, vocab_size=tokenizer.vocab_size)
    model_class = MaskedLM if predicts_words else Encoder
    draw = np.random.default_rng(0)

    def values(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> np.ndarray:
        mean = 1.0 if path_name(path).endswith("/scale") else 0.0
        return draw.normal(mean, config.initializer_range, shape.shape).astype(np.float32)

    shapes = abstract_params(lambda: model_class(config, rngs=nnx.Rngs(0)))
    return Teacher(RANDOM, config, jax.tree_util.tree_map_with_path(values, shapes), predicts_words)
