"""Builds the library's objects from a job's options: architecture, optimizer, initial parameters."""

import dataclasses
from collections.abc import Mapping, Sequence
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


# Folded into the key by `initial_rngs`: no step reaches it, and `flax_lite.training.steps` uses the next number.
_INITIAL = 2**32 - 2

# Fields of a config that determine the shapes of every model's parameters.
_SIZES = (
    "model_type",
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "intermediate_size",
    "num_physical_layers",
)


def model_config(
    values: Values,
    tokenizer: "Tokenizer",
    *,
    base: "EncoderConfig | None" = None,
    vocab_size: int | None = None,
    num_types: int = 1,
) -> "EncoderConfig":
    """Returns the architecture of the preset, of init_from or of `base`, with the options' overrides.

    Args:
        values: the job's options.
        tokenizer: gives a preset its vocabulary size.
        base: the architecture if there is neither preset nor init_from.
        vocab_size: a preset's vocabulary size, if it has to be larger than the tokenizer's.
        num_types: number of token types in the batches.

    Raises:
        UserError: if the preset is unknown, or sizes do not fit each other or the sequence length.
    """
    overrides = {name: value for name, value in group(values, "model").items() if value is not None}
    name, source = overrides.pop("preset", None), values["init_from"]
    if values.get("init_layers") is not None and source is None:
        raise UserError("init_layers names layers of init_from: give --config.init_from=SOURCE too")
    try:
        if name is not None:
            base = _preset(name, tokenizer, vocab_size or tokenizer.vocab_size)
        elif source is not None:
            base = _architecture_of(source, values.get("init_layers"))
        if base is None:
            raise UserError("no architecture: give model.preset, or init_from to take a model's")
        _check_known(overrides, base)
        config = base.replace(**overrides)
    except ValueError as error:
        raise UserError(f"model: {error}") from error
    if source is not None:
        _check_sizes(values, config)
    check_tables("the model" if source is None else f"init_from={source}", config, tokenizer, num_types=num_types)
    length = values["data.sequence_length"]
    if length > config.max_position_embeddings:
        raise UserError(
            f"data.sequence_length={length} is longer than the model's {config.max_position_embeddings} positions. "
            f"Give at most {config.max_position_embeddings}, or raise model.max_position_embeddings"
        )
    return config


def describe_dropout(values: Values, config: "EncoderConfig") -> str:
    """Returns a line with a student's dropout, and the option or model that each rate comes from."""
    base = next(
        (f"{name}={values[name]}" for name in ("model.preset", "init_from") if values[name] is not None),
        f"the teacher's config, teacher={values['teacher']}",
    )
    names = {"hidden": "hidden_dropout_prob", "attention": "attention_probs_dropout_prob"}
    rates = (
        f"{name} {getattr(config, field):g} ({base if values[f'model.{field}'] is None else f'model.{field}'})"
        for name, field in names.items()
    )
    return f"dropout of the student: {', '.join(rates)}"


def _preset(name: str, tokenizer: "Tokenizer", vocab_size: int) -> "EncoderConfig":
    from flax_lite.architecture.registry import preset

    return preset(name, vocab_size=vocab_size, pad_token_id=tokenizer.pad_id)


def _architecture_of(source: str, layers: Sequence[int] | None) -> "EncoderConfig":
    from flax_lite.architecture.config import DEFAULT_LABELS
    from flax_lite.checkpoints.layers import pick_config
    from flax_lite.checkpoints.sources.resolve import source_config

    config = source_config(source)
    try:
        config = config if layers is None else pick_config(config, layers)
    except ValueError as error:
        raise UserError(f"init_layers, init_from={source}: {error}") from error
    # The labels of a classifier are another task's.
    return config.replace(labels=DEFAULT_LABELS, problem_type=None)


def _check_sizes(values: Values, config: "EncoderConfig") -> None:
    """Raises UserError if the parameters of init_from have other sizes than those of the model.

    `load_params` compares all shapes, but only when a run starts; --dry_run does not read parameters.
    """
    from flax_lite.distillation.initialization import spread_layers

    source, layers = values["init_from"], values.get("init_layers")
    try:
        found = _architecture_of(source, layers)
    except (ValueError, OSError):  # it is reported when the parameters are read
        return
    sizes = {name: (getattr(found, name), getattr(config, name)) for name in _SIZES}
    rows = [f"  {name}: {there} in init_from, {here} here" for name, (there, here) in sizes.items() if there != here]
    if not rows:
        return
    cure = "Give the tokenizer and sizes of that model"
    depth, wanted = sizes["num_physical_layers"]
    if len(rows) == 1 and depth != wanted and depth == found.num_hidden_layers:
        cure = f"Give its depth: --config.model.num_hidden_layers={depth}"
        if depth > wanted and layers is None and "init_layers" in values:
            picked = ",".join(map(str, spread_layers(depth, wanted))) + "," * (wanted == 1)
            cure = f"To start from some of its layers, name them: --config.init_layers={picked}"
    raise UserError(f"init_from={source} does not fit this model:\n{chr(10).join(rows)}\n{cure}")


def _check_known(overrides: Mapping[str, Any], config: "EncoderConfig") -> None:
    settable = {field.name for field in dataclasses.fields(config) if field.init}
    unknown = [f"model.{name}" for name in overrides if name not in settable]
    if unknown:
        raise ValueError(f"{config.model_type} does not take {', '.join(unknown)}")


def optimizer(values: Values) -> "tuple[optax.GradientTransformation, optax.Schedule]":
    """Returns the optimizer and its learning-rate schedule.

    Raises:
        UserError: if the warm-up is longer than the run.
    """
    from flax_lite.training.optim import make_optimizer, make_schedule

    options = group(values, "optimizer")
    options["decay_from"] = options["decay_from"] or "start"
    name, rate, total_steps = options.pop("name"), options.pop("learning_rate"), values["total_steps"]
    try:
        rule = make_optimizer(name, rate, total_steps, **options)
        schedule, warmup_steps = options["schedule"], options["warmup_steps"]
        return rule, make_schedule(schedule, rate, warmup_steps, total_steps, decay_from=options["decay_from"])
    except ValueError as error:
        raise UserError(f"optimizer: {error}") from error


def initial_rngs(key: jax.Array, streams: int) -> nnx.Rngs:
    """Returns the random stream of initial parameters, which no step's dropout shares.

    Args:
        key: the key of the run's seed. Step s draws its dropout from fold_in(key, s), and nnx.Rngs(key) counts too.
        streams: the version of the run's streams (`train.run.workdir.STREAMS`); version 1 shared the keys.
    """
    return nnx.Rngs(key if streams == 1 else jax.random.fold_in(key, _INITIAL))


def load_params(
    model: Any, source: str, expected: Any, *, checkpoint: "Checkpoint | None" = None, **options: Any
) -> Any:
    """Returns the parameters of a saved model.

    Args:
        model: the class to load it with.
        source: directory, hub id or work directory, for messages.
        expected: the tree of shapes that the job trains; for ALBERT it is the same at any depth.
        checkpoint: the checkpoint at `source`, if it is open already.
        **options: arguments of `from_pretrained`.

    Raises:
        UserError: if the model cannot be read, or its parameters have other shapes.
    """
    from flax_lite.models.params import get_params

    try:
        params = get_params(model.from_pretrained(checkpoint or source, **options))
    except (ValueError, OSError) as error:
        raise UserError(f"init_from={source}: {error}") from error
    found, wanted = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): array.shape for path, array in arrays}
        for arrays in map(jax.tree_util.tree_leaves_with_path, (params, expected))
    )
    different = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    if different:
        rows = "\n".join(f"  {path}: checkpoint {found.get(path)}, model {wanted.get(path)}" for path in different)
        raise UserError(
            f"init_from={source} does not fit this model:\n{rows}\nGive the tokenizer and sizes of that model"
        )
    return params
