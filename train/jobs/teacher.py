"""The teacher of a distillation: read from any SOURCE, held against the rows' vocabulary, placed on the devices."""

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

# Of `random_teacher`: those of the smoke runs, twice as deep.
_RANDOM_SIZES = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A model that is read once and never changed.

    Attributes:
        source: where it is from.
        config: its architecture.
        params: its parameters, float32 NumPy arrays: of a MaskedLM where it predicts words, otherwise of an Encoder.
        predicts_words: whether it is read with its masked-LM head.
    """

    source: str
    config: EncoderConfig
    params: Any
    predicts_words: bool

    @property
    def model_class(self) -> type[MaskedLM] | type[Encoder]:
        """The class of the model."""
        return MaskedLM if self.predicts_words else Encoder

    @functools.cached_property
    def fingerprint(self) -> str:
        """Names the function that it computes, by its configuration and every parameter, wherever it was read from."""
        return fingerprint(self.config, self.params, words=self.predicts_words)

    def structure(self, execution: Execution) -> nnx.GraphDef:
        """The structure of the model, computed in a given way."""
        make = functools.partial(self.model_class, self.config, execution=execution)
        return nnx.graphdef(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))

    def placed(self, mesh: Mesh, dtype: jax.typing.DTypeLike) -> Any:
        """The parameters in a dtype, on the devices of a mesh, large ones split over its axis "fsdp"."""
        narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(dtype)), self.params)
        return jax.device_put(narrow, tree_shardings(narrow, mesh))

    def trimmed(self, kept: tuple[int, ...]) -> "Teacher":
        """The same teacher of fewer words."""
        return dataclasses.replace(self, config=trim_config(self.config, kept), params=trim_params(self.params, kept))


def fingerprint(config: EncoderConfig, params: Any, **more: Any) -> str:
    """SHA-256 of an architecture, wherever it was read from, of every parameter, and of what else tells it apart."""
    described = {**config.replace(extra={}, architectures=()).to_json_dict(), **more}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{path_name(path)} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def open_teacher(source: str | None, *, read_words: bool, need_words: bool) -> Teacher:
    """Reads a teacher.

    Args:
        source: the leaf `teacher`.
        read_words: whether its masked-LM head is read, if it has one.
        need_words: whether it has to have one.

    Raises:
        UserError: if none is given, it cannot be read, or it lacks that head.
    """
    if source is None:
        raise UserError("whom to learn from? Give --config.teacher=SOURCE: a directory, a work directory or a hub id")
    try:
        checkpoint = open_source(source)  # once: heads and parameters of one step
        held = survey(checkpoint).heads
        if need_words and "masked_lm_head" not in held:
            raise UserError(
                f"teacher={source} has no masked-LM head ({', '.join(held) or 'no head at all'}), and losses on logits "
                "need one: give another teacher, or losses.soft_cross_entropy=0 and losses.logit_mse=0"
            )
        predicts_words = read_words and "masked_lm_head" in held
        model: MaskedLM | Encoder = (MaskedLM if predicts_words else Encoder).from_pretrained(checkpoint)
    except (ValueError, OSError) as error:
        raise UserError(f"teacher={source}: {error}") from error
    config = model.config.replace(labels=DEFAULT_LABELS, problem_type=None)
    return Teacher(source, config, jax.device_get(get_params(model)), predicts_words)


def random_teacher(tokenizer: Tokenizer, *, predicts_words: bool) -> Teacher:
    """A tiny BERT with random parameters, always the same: to try a distillation before there is anyone to learn from.

    Args:
        tokenizer: of the rows.
        predicts_words: whether it gets a masked-LM head.
    """
    config = BertConfig.from_preset("bert-tiny", **_RANDOM_SIZES, vocab_size=tokenizer.vocab_size)
    model_class = MaskedLM if predicts_words else Encoder
    draw = np.random.default_rng(0)

    def values(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        around = 1.0 if path_name(path).endswith("/scale") else 0.0
        return draw.normal(around, config.initializer_range, leaf.shape).astype(np.float32)

    shapes = abstract_params(lambda: model_class(config, rngs=nnx.Rngs(0)))
    return Teacher(RANDOM, config, jax.tree_util.tree_map_with_path(values, shapes), predicts_words)
