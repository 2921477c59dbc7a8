"""Loading and saving, as methods of every model class."""

import logging
import os
from collections.abc import Collection, Mapping
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jax.sharding import Mesh

from flax_lite.architecture import checks
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import weight_table
from flax_lite.checkpoints.accounting import Rules
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.engine import Loaded, load_parameters, settle_positions
from flax_lite.checkpoints.sources.directory import write_directory
from flax_lite.checkpoints.sources.resolve import Source, open_source
from flax_lite.layers.execution import Execution
from flax_lite.layers.unstacked import stacked
from flax_lite.models.params import get_params, tree_shardings, with_params
from flax_lite.models.tasks import TASKS

logger = logging.getLogger("flax_lite")

# Names of heads in several tasks; their parameters do not transfer from one task to another.
_SHARED_NAMES = frozenset({"classifier", "pre_classifier"})


class Pretrained:
    """Methods `from_pretrained` and `save_pretrained`, shared by Encoder and the task models."""

    config: EncoderConfig
    execution: Execution

    @classmethod
    def from_pretrained(
        cls,
        source: Source | Checkpoint,
        *,
        execution: Execution | None = None,
        num_labels: int | None = None,
        id2label: Mapping[int, str] | None = None,
        problem_type: str | None = None,
        num_hidden_layers: int | None = None,
        allow_missing: Collection[str] = (),
        ignore: Collection[str] = (),
        param_dtype: jax.typing.DTypeLike | None = None,
        mesh: Mesh | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """Loads a model; every tensor of the file and every parameter of the model must be accounted for.

        Heads of other tasks are skipped, and a head that the checkpoint does not have is initialized; the logger
        "flax_lite" reports both in one line, and a missing pooler in another. If config.json's `architectures` names
        this task, nothing may be missing.

        Args:
            source: a directory with config.json and weights, one of Google's TensorFlow checkpoints, a work directory
                (`WORKDIR`, `WORKDIR@best`, `@last`, `@STEP`), or a hub id (`OWNER/NAME`, `@REVISION` allowed); or the
                result of `open_source` for one of these, or of `flax_lite.checkpoints.pick_layers`.
            execution: execution config.
            num_labels: number of labels of a new classification head, if different from the checkpoint's.
            id2label: labels of a new classification head by id.
            problem_type: "regression", "single_label_classification" or "multi_label_classification"; the checkpoint's
                if None.
            num_hidden_layers: another depth, for an ALBERT of one group, whose layer is applied that many times.
            allow_missing: parameters to initialize if they are missing or have another shape: globs on paths such as
                "classifier/*" or "encoder/layers/3/*" (`*` matches slashes too).
            ignore: tensors to ignore: globs on names in the file, with dots between the parts (slashes in
                TensorFlow's), e.g. "*.adapter.*".
            param_dtype: dtype of the parameters, whatever the file's; float32 if None.
            mesh: mesh to load the parameters onto, sharded by the rules of `flax_lite.models.params`; the default
                device if None.
            rngs: source of the initial values of missing parameters; `nnx.Rngs(0)` if None.

        Raises:
            ValueError: if the source cannot be read; or one error that lists all tensors and parameters that are
                missing, unmapped, duplicated, mis-shaped or not finite (also after rounding to `param_dtype`).
        """
        checkpoint = open_source(source)
        config = of_depth(_relabeled(_settled(checkpoint), num_labels, id2label), num_hidden_layers)
        config = config if problem_type is None else config.replace(problem_type=problem_type)
        rules = _rules(cls, config, _globs("allow_missing", allow_missing), _globs("ignore", ignore))
        dtype = jnp.dtype(param_dtype or jnp.float32)
        return _read(cls, checkpoint, config, execution, rules, dtype, mesh, rngs or nnx.Rngs(0))

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        format: str | Collection[str] = "safetensors",
        *,
        max_shard_size: int | str | None = None,
    ) -> None:
        """Writes config.json and the weights atomically: the directory is created or replaced as a whole.

        Args:
            directory: target directory; its weights are replaced, other files stay.
            format: "safetensors" (model.safetensors with PyTorch's names), "flax" (flax_model.msgpack), or both.
                Hugging Face's classes open either.
            max_shard_size: maximum size of a weight file, in bytes or as text such as "500MB" or "10GB"; larger weights
                are written in shards with an index. None writes one file.

        Raises:
            ValueError: for an unknown format, an invalid size, or a directory that cannot be replaced.
        """
        params = _flat_params(stacked(cast(nnx.Module, self)))
        formats = (format,) if isinstance(format, str) else tuple(format)
        # An encoder without its pooler does not have all parameters of Hugging Face's class.
        is_complete = getattr(self, "has_pooler", True) or not self.config.has_pooler
        architectures = (architecture(type(self), self.config),) if is_complete else ()
        config = self.config.replace(architectures=architectures)
        write_directory(directory, params, config, formats, max_shard_size=max_shard_size)


def _flat_params(model: nnx.Module) -> dict[str, Any]:
    return traverse_util.flatten_dict(get_params(model), sep="/")


def _chosen(params: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    return {path: params[path] for path in paths}


def architecture(cls: type, config: EncoderConfig) -> str:
    """Returns Hugging Face's class name for a model class and family, as in config.json's `architectures`."""
    endings = {task.model: task.ending for task in TASKS}
    task = next(base.__name__ for base in cls.__mro__ if base.__name__ in endings)  # cls may be a subclass
    return weight_table(config).family + endings[task]


def _rules(cls: type, config: EncoderConfig, allow_missing: tuple[str, ...], ignore: tuple[str, ...]) -> Rules:
    requested = architecture(cls, config)
    known = {weight_table(config).family + task.ending for task in TASKS}
    complete = requested in config.architectures
    another_task = not complete and any(name in known for name in config.architectures)
    return Rules(
        complete=complete,
        foreign_heads=_SHARED_NAMES if another_task else frozenset(),
        allow_missing=allow_missing,
        ignore=ignore,
    )


def _globs(argument: str, patterns: Collection[str]) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise ValueError(f"{argument}={patterns!r} is one string, expected a collection: {argument}=({patterns!r},)")
    return tuple(patterns)


def _relabeled(config: EncoderConfig, num_labels: int | None, id2label: Mapping[int, str] | None) -> EncoderConfig:
    if id2label is None and num_labels is not None and num_labels != config.num_labels:
        id2label = {index: f"LABEL_{index}" for index in range(num_labels)}
    if id2label is None:
        return config
    if num_labels not in (None, len(id2label)):
        raise ValueError(f"num_labels={num_labels}, but id2label names {len(id2label)} labels; give one of the two")
    return config.replace(labels=checks.labels_in_order(id2label))


def of_depth(config: EncoderConfig, num_hidden_layers: int | None) -> EncoderConfig:
    """Returns the config with another depth; unchanged for None.

    Raises:
        ValueError: if another depth needs other parameters.
    """
    if num_hidden_layers in (None, config.num_hidden_layers):
        return config
    if config.num_hidden_groups != 1:
        raise ValueError(
            f"num_hidden_layers={num_hidden_layers}: the checkpoint's {config.num_hidden_layers} layers are made of "
            f"{config.num_hidden_groups} groups of parameters, so another depth is another model; "
            "only an ALBERT of one group may be made deeper or shallower. To keep some of the layers, name them: "
            "flax_lite.checkpoints.pick_layers, or convert --layers 0,2,4 (a single one: 3,)"
        )
    return config.replace(num_hidden_layers=num_hidden_layers)


def _read(
    cls: Any,
    checkpoint: Checkpoint,
    config: EncoderConfig,
    execution: Execution | None,
    rules: Rules,
    dtype: jnp.dtype,
    mesh: Mesh | None,
    rngs: nnx.Rngs,
) -> Any:
    """Creates a model with parameters from the checkpoint, or from `rngs` where the rules allow it."""

    def create(key: jax.Array) -> nnx.Module:
        return cls(config, rngs=nnx.Rngs(key), execution=execution)

    def initialize(paths: Collection[str]) -> Mapping[str, jax.Array]:
        # Under jit, values that are not returned are not computed.
        values = jax.jit(lambda key: _chosen(_flat_params(create(key)), paths))
        return values(rngs.params())

    abstract = nnx.eval_shape(lambda: create(jax.random.key(0)))
    target = _target(abstract, dtype, mesh)
    try:
        loaded = load_parameters(checkpoint.tensors, checkpoint.convention, config, target, rules, initialize)
    except ValueError as error:
        raise ValueError(f"{checkpoint.path} does not fit {cls.__name__}:\n{error}") from None
    _report(cls.__name__, checkpoint.path, loaded, checkpoint.convention.separator)
    return with_params(nnx.graphdef(abstract), traverse_util.unflatten_dict(loaded.params, sep="/"))


def _settled(checkpoint: Checkpoint) -> EncoderConfig:
    """Returns the checkpoint's config, without sinusoidal positions if the checkpoint holds learned ones."""
    config = settle_positions(checkpoint.tensors, checkpoint.convention, checkpoint.config)
    if config is not checkpoint.config:
        logger.warning("%s has learned positions: sinusoidal_positions is set to False", checkpoint.path)
    return config


def _target(model: nnx.Module, dtype: jnp.dtype, mesh: Mesh | None) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shape, dtype and sharding of each parameter to load."""
    target = {path: jax.ShapeDtypeStruct(leaf.shape, dtype) for path, leaf in _flat_params(model).items()}
    if mesh is None:
        return target
    shardings = tree_shardings(target, mesh)
    return {path: spec.update(sharding=shardings[path]) for path, spec in target.items()}


def _report(model: str, path: os.PathLike[str], loaded: Loaded, separator: str) -> None:
    """Logs skipped and initialized modules in one line, and a missing pooler in another."""
    new = {"poolers": [], "heads": []}
    for name in loaded.initialized:
        new["poolers" if "pooler/" in name else "heads"].append(name)
    parts = []
    if loaded.skipped:
        parts.append(f"skipped {_modules(loaded.skipped, separator)}")
    if new["heads"]:
        parts.append(f"initialized {_modules(new['heads'], '/')}: train it before use")
    if parts:
        logger.warning("%s from %s: %s", model, path, "; ".join(parts))
    if new["poolers"]:
        logger.warning("%s has no pooler; it is initialized: train it before use", path)
    for remark in loaded.remarks:
        logger.warning("%s: %s", path, remark)


def _modules(names: Collection[str], separator: str) -> str:
    """Lists the outermost modules that the parameters belong to."""
    # Some of Google's variables are in no module: they are listed by themselves.
    modules = {name.rpartition(separator)[0] or name for name in names}
    return ", ".join(sorted(name for name in modules if not any(name.startswith(each + separator) for each in modules)))
