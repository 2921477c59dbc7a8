"""From a job's options to the library's objects: architecture, optimizer, parameters to start from."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
from flax import nnx

from train.data.vocabulary import check_tables
from train.errors import UserError
from train.options.schema import Values, group

if TYPE_CHECKING:
    import optax

    from flax_lite.architecture.config import EncoderConfig
    from flax_lite.checkpoints.checkpoint import Checkpoint
    from flax_lite.tokenization import Tokenizer


# Of `initial_rngs`: a number that no step reaches; the next one is `flax_lite.training.steps`' own.
_INITIAL = 2**32 - 2


def model_config(
    values: Values,
    tokenizer: "Tokenizer",
    *,
    base: "EncoderConfig | None" = None,
    vocab_size: int | None = None,
    num_types: int = 1,
) -> "EncoderConfig":
    """The architecture: the preset's, init_from's or `base`'s, with the overrides that are given.

    Args:
        values: the job's leaves.
        tokenizer: whose vocabulary a preset is made for.
        base: taken where there is neither preset nor init_from.
        vocab_size: the rows of a preset's table, if it shall have more than the tokenizer has pieces.
        num_types: token types of the rows.

    Raises:
        UserError: if the preset is unknown, or sizes do not fit each other or the length of the rows.
    """
    overrides = {name: value for name, value in group(values, "model").items() if value is not None}
    name, source = overrides.pop("preset", None), values["init_from"]
    try:
        if name is not None:
            base = _preset(name, tokenizer, vocab_size or tokenizer.vocab_size)
        elif source is not None:
            base = _architecture_of(source)
        if base is None:
            raise UserError("which architecture? Give model.preset, or init_from to take a model's own")
        _check_known(overrides, base)
        config = base.replace(**overrides)
    except ValueError as error:
        raise UserError(f"model: {error}") from error
    check_tables("the model" if source is None else f"init_from={source}", config, tokenizer, num_types=num_types)
    length = values["data.sequence_length"]
    if length > config.max_position_embeddings:
        raise UserError(
            f"data.sequence_length={length} is longer than the model's {config.max_position_embeddings} positions. "
            f"Give at most {config.max_position_embeddings}, or raise model.max_position_embeddings"
        )
    return config


def _preset(name: str, tokenizer: "Tokenizer", vocab_size: int) -> "EncoderConfig":
    from flax_lite.architecture.registry import preset

    return preset(name, vocab_size=vocab_size, pad_token_id=tokenizer.pad_id)


def _architecture_of(source: str) -> "EncoderConfig":
    from flax_lite.architecture.config import DEFAULT_LABELS
    from flax_lite.checkpoints.sources.resolve import open_source

    # What a classifier's labels meant is not this job's.
    return open_source(source).config.replace(labels=DEFAULT_LABELS, problem_type=None)


def _check_known(overrides: Mapping[str, Any], config: "EncoderConfig") -> None:
    settable = {field.name for field in dataclasses.fields(config) if field.init}
    unknown = [f"model.{name}" for name in overrides if name not in settable]
    if unknown:
        raise ValueError(f"{config.model_type} does not take {', '.join(unknown)}")


def optimizer(values: Values) -> "tuple[optax.GradientTransformation, optax.Schedule]":
    """The update rule and its learning rate by step.

    Raises:
        UserError: if the warm-up is longer than the run.
    """
    from flax_lite.training.optim import make_optimizer, make_schedule

    leaves = group(values, "optimizer")
    leaves["decay_from"] = leaves["decay_from"] or "start"
    name, rate, total_steps = leaves.pop("name"), leaves.pop("learning_rate"), values["total_steps"]
    try:
        rule = make_optimizer(name, rate, total_steps, **leaves)
        schedule, warmup_steps = leaves["schedule"], leaves["warmup_steps"]
        return rule, make_schedule(schedule, rate, warmup_steps, total_steps, decay_from=leaves["decay_from"])
    except ValueError as error:
        raise UserError(f"optimizer: {error}") from error


def initial_rngs(key: jax.Array, streams: int) -> nnx.Rngs:
    """Where a run's first values are drawn from: a stream of their own.

    Args:
        key: that of the run's seed. The dropout of step s has fold_in(key, s), and nnx.Rngs(key) counts up as well.
        streams: what the run's seed means (`train.run.workdir.STREAMS`); in 1 they were drawn from just these.
    """
    return nnx.Rngs(key if streams == 1 else jax.random.fold_in(key, _INITIAL))


def load_params(
    model: Any, source: str, expected: Any, *, checkpoint: "Checkpoint | None" = None, **options: Any
) -> Any:
    """The parameters of a saved model, to start from.

    Args:
        model: the class to read it with.
        source: where it is.
        expected: the tree of shapes that the job trains. An ALBERT of another depth has the same one.
        checkpoint: what is there, where it is open already.
        **options: of `from_pretrained`.

    Raises:
        UserError: if it cannot be read, or its parameters are of other shapes.
    """
    from flax_lite.models.params import get_params

    try:
        params = get_params(model.from_pretrained(checkpoint or source, **options))
    except (ValueError, OSError) as error:
        raise UserError(f"init_from={source}: {error}") from error
    found, wanted = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (params, expected))
    )
    different = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    if different:
        rows = "\n".join(f"  {path}: there {found.get(path)}, here {wanted.get(path)}" for path in different)
        raise UserError(
            f"init_from={source} does not fit this model:\n{rows}\nGive the tokenizer and sizes of that model"
        )
    return params
