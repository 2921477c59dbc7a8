"""What pretraining and distillation share: a job put together from its data, a model to create, and an objective."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers.execution import Execution
from flax_lite.models.heads import MaskedLM, PreTraining
from flax_lite.models.params import abstract_params, num_parameters, with_params
from flax_lite.models.pretrained import architecture
from flax_lite.rows.batch_masks import batch_masks
from flax_lite.tokenization import Tokenizer
from flax_lite.training.objective import Objective, averages
from flax_lite.training.steps import init_state, make_eval_step, make_train_step
from train.data.pretraining.dataset import PretrainingData, fingerprints
from train.errors import UserError
from train.jobs import build
from train.jobs.samples import fill_mask_examples
from train.machine.paths import WorkPath
from train.options.request import Request
from train.run.delivery import optional
from train.run.job import Job, add_up
from train.run.workdir import WorkDir

Create = Callable[..., nnx.Module]
_NUMBERS = ("no", "one", "two", "three", "four", "five")  # of examples


def make_language_model_job(
    work: WorkDir,
    data: PretrainingData,
    create: Create,
    objective: Objective,
    *,
    measured: Objective | None = None,
    model: EncoderConfig,
    **fields: Any,
) -> Job:
    """A job that trains what `create` makes on a corpus's rows.

    Args:
        work: the work directory.
        data: the rows.
        create: (rngs=...) to the model; its class decides what is exported.
        objective: what to optimize.
        measured: what to report of held-out rows, with the same losses; `objective` if None.
        model: the architecture as it is exported.
        **fields: further fields of the Job; `identity` is added to.

    Raises:
        UserError: if options do not fit each other or the data.
    """
    values = work.request.values
    measured = measured or objective
    optimizer, learning_rate_at = build.optimizer(values)
    structure = structure_of(create)
    train_step = make_train_step(
        structure,
        objective,
        optimizer,
        seed=values["seed"],
        accumulation_steps=values["accumulation_steps"],
        prepare=_batch_masks(data),
    )
    eval_step = make_eval_step(structure, measured)
    own: dict[str, Any] = {
        "init_state": lambda key: init_state(create(rngs=build.initial_rngs(key, work.streams)), optimizer),
        "train_step": with_learning_rate(train_step, learning_rate_at),
        "train_batches": functools.partial(data.train_batches, values["batch_size"], workers=values["data.workers"]),
        "tokens_per_batch": values["batch_size"] * values["data.sequence_length"],
        "export": functools.partial(export, structure, data.tokenizer),
        "eval_step": lambda params, batch, *constants: _flat(eval_step(params, batch, *constants)),
        "eval_batches": functools.partial(data.eval_batches, values["batch_size"]),
        "summarize": lambda results: _summary(add_up(results), objective.losses),
        "shown": ("loss", *(name for name in objective.names if name.endswith("_accuracy"))),
        "model": model.to_json_dict(),
        "task": "fill-mask",
        "describe_data": data.describe(),
        "describe_extension": functools.partial(describe_extension, values),
    }
    inputs = {"data": data.fingerprint, "tokenizer": data.tokenizer.fingerprint}
    fields["identity"] = inputs | fields.get("identity", {})
    return Job(**(own | fields))


def structure_of(create: Create) -> nnx.GraphDef:
    """The structure of the model that `create(rngs=...)` makes, without making it."""
    return nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))


def shapes_of(create: Create) -> dict[str, Any]:
    """The shapes of its parameters."""
    return abstract_params(lambda: create(rngs=nnx.Rngs(0)))


def exported(model_class: type, config: EncoderConfig) -> EncoderConfig:
    """The config as config.json has it of a model of this class."""
    return config.replace(architectures=(architecture(model_class, config),))


def export(
    structure: nnx.GraphDef, tokenizer: Tokenizer, params: Any, directory: Path, evaluation: Mapping[str, float]
) -> None:
    """Writes a model in both formats, and its tokenizer."""
    model: Any = with_params(structure, params)
    model.save_pretrained(directory, format=("safetensors", "flax"))
    tokenizer.save(directory, max_length=model.config.max_position_embeddings)


def initial_params(values: Mapping[str, Any], model_class: type, create: Create) -> Callable[[], Any] | None:
    """Reads the parameters of init_from, if there is one."""
    source = values["init_from"]
    return None if source is None else functools.partial(build.load_params, model_class, source, shapes_of(create))


def describe_model(create: Create, config: EncoderConfig, title: str = "model") -> str:
    """Family, sizes and parameters in a line."""
    layers = f"{config.num_hidden_layers} layers"
    if config.num_physical_layers < config.num_hidden_layers:
        layers += f" of {config.num_physical_layers} set{'s' * (config.num_physical_layers > 1)} of parameters"
    sizes = f"{layers}, width {config.hidden_size}, {config.vocab_size} pieces"
    return f"{title}: {config.model_type}, {sizes}, {num_parameters(shapes_of(create)):,} parameters"


def resolved(execution: Execution, config: EncoderConfig) -> Execution:
    """The execution with what `auto` chooses for this model."""
    return execution.resolve(len(config.layer_sequence()))


def describe_execution(execution: Execution, config: EncoderConfig) -> str:
    """What `auto` chose, in a line."""
    chosen = resolved(execution, config)
    how = f"{chosen.dtype}, {chosen.unroll} layer(s) unrolled, remat {chosen.remat}, attention {chosen.attention}"
    return f"execution: {how}"


def next_commands(more: str, model_class: type, directory: WorkPath) -> Sequence[str]:
    """Lines that a person pastes after a run: to train on, and to open what came of it."""
    here = directory if isinstance(directory, Path) else Path(directory.name)
    opened = f"fl.{model_class.__name__}.from_pretrained('{here}')"
    return [
        "next, to paste:",
        f"  {more}   # train twice as long",
        *([] if here is directory else [f"  gcloud storage cp --recursive {directory} ."]),
        f'  python -c "import flax_lite as fl; print({opened}.config)"',
    ]


def words_line(scores: dict[str, float], data: PretrainingData, title: str = "masked words:") -> str:
    """A masked-LM result in a line, beside what it compares with."""
    words = f"loss {scores['mlm_loss']:.3f} nats, accuracy {scores['mlm_accuracy']:.1%}"
    return f"  {title:<15} {words} ({data.describe_references()})"


def examples(structure: nnx.GraphDef, data: PretrainingData, params: Any) -> list[str]:
    """Held-out sentences with a word hidden in each, and the model's guesses; or why there are none."""
    lines: list[str] = []
    with optional("held-out sentences with a hidden word", lines.append):
        model: PreTraining | MaskedLM = with_params(structure, jax.tree.map(jnp.asarray, params))
        shown = list(fill_mask_examples(model, data))
        return [f"{_NUMBERS[len(shown) // 2]} held-out sentences, a word hidden in each:", *shown]
    return lines


def inputs(request: Request) -> dict[str, str]:
    """What a job would read, by the names of its `identity`, as far as that is known without tokenizing."""
    place = request.workdir / "tokenizer"
    return fingerprints(request.values, place) if isinstance(place, Path) else {}


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)


def _batch_masks(data: PretrainingData) -> Callable[..., Any] | None:
    try:
        return batch_masks(data.recipe, data.train.tokenizer, data.train.store.token_counts)
    except ValueError as error:
        raise UserError(f"data.mask_smoothing: {error}") from error


def with_learning_rate(step: Callable[..., Any], learning_rate_at: optax.Schedule) -> Callable[..., Any]:
    """The same training step, its learning rate among the metrics."""

    def stepped(state: Any, batch: Any, *constants: Any) -> Any:
        next_state, metrics = step(state, batch, *constants)
        return next_state, {**metrics, "learning_rate": learning_rate_at(state["step"])}

    return stepped


def _flat(evaluation: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{kind}/{name}": value for kind, named in evaluation.items() for name, value in named.items()}


def _summary(flat_sums: dict[str, float], losses: Mapping[str, float]) -> dict[str, float]:
    sums, weights = ({} for _ in range(2))
    for path, value in flat_sums.items():
        kind, name = path.split("/")
        (sums if kind == "sums" else weights)[name] = value
    found = {name: float(value) for name, value in averages(sums, weights, losses).items()}
    # What no row has is not a loss of 0, which would be the best there is.
    missing = {name for name, weight in weights.items() if not weight}
    if losses.keys() & missing:
        missing.add("loss")
    return {name: math.nan if name in missing else value for name, value in found.items()}


def describe_extension(values: dict[str, Any], former: int, total: int, step: int) -> str:
    """What more steps do to the learning rate, in a line."""
    _, before = build.optimizer({**values, "total_steps": former})
    _, after = build.optimizer(values)
    return (
        f"the learning rate's decay is stretched to the new end: at step {step} it goes from "
        f"{np.asarray(before(step)):.3g} to {np.asarray(after(step)):.3g}; the warm-up stays "
        f"{values['optimizer.warmup_steps']} steps"
    )
