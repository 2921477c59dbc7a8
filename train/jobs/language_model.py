"""The shared part of pretraining and distillation: builds a job from data, a model and an objective."""

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
_NUMBERS = ("no", "one", "two", "three", "four", "five")


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
    """Returns a job that trains a model on a corpus.

    Args:
        work: the work directory.
        data: the training and held-out rows.
        create: (rngs=...) to the model.
        objective: the objective to optimize.
        measured: the objective to evaluate on held-out rows, with the same losses and more; `objective` if None.
        model: the architecture to export.
        **fields: further fields of the Job; `fingerprints` is extended.

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
    common: dict[str, Any] = {
        "init_state": lambda key: init_state(create(rngs=build.initial_rngs(key, work.streams)), optimizer),
        "train_step": with_learning_rate(train_step, learning_rate_at),
        "train_batches": functools.partial(data.train_batches, values["batch_size"], workers=values["data.workers"]),
        "tokens_per_batch": values["batch_size"] * values["data.sequence_length"],
        "export": functools.partial(export, structure, data.tokenizer, values["model_format"]),
        "eval_step": lambda params, batch, *constants: _flat(eval_step(params, batch, *constants)),
        "eval_batches": functools.partial(data.eval_batches, values["batch_size"]),
        "summarize": lambda results: _summary(add_up(results), objective.losses),
        "shown": ("loss", *(name for name in objective.names if name.endswith("_accuracy"))),
        "losses": objective.losses,
        "model": model.to_json_dict(),
        "task": "fill-mask",
        "describe_data": data.describe(),
        "describe_extension": functools.partial(describe_extension, values),
    }
    inputs = {"data": data.fingerprint, "tokenizer": data.tokenizer.fingerprint}
    fields["fingerprints"] = inputs | fields.get("fingerprints", {})
    return Job(**(common | fields))


def structure_of(create: Create) -> nnx.GraphDef:
    """Returns the graph definition of the model that `create(rngs=...)` returns, without parameters."""
    return nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))


def shapes_of(create: Create) -> dict[str, Any]:
    """Returns the shapes of the parameters of the model that `create(rngs=...)` returns."""
    return abstract_params(lambda: create(rngs=nnx.Rngs(0)))


def exported(model_class: type, config: EncoderConfig) -> EncoderConfig:
    """Returns the config as in config.json of a model of this class."""
    return config.replace(architectures=(architecture(model_class, config),))


def export(
    structure: nnx.GraphDef,
    tokenizer: Tokenizer,
    model_format: str,
    params: Any,
    directory: Path,
    evaluation: Mapping[str, float],
) -> None:
    """Writes a model in the format of the option `model_format`, and its tokenizer."""
    model: Any = with_params(structure, params)
    model.save_pretrained(directory, format=("safetensors", "flax") if model_format == "both" else model_format)
    tokenizer.save(directory, max_length=model.config.max_position_embeddings)


def initial_params(values: Mapping[str, Any], model_class: type, create: Create) -> Callable[[], Any] | None:
    """Returns a function that loads the parameters of init_from; None without init_from."""
    source = values["init_from"]
    return None if source is None else functools.partial(build.load_params, model_class, source, shapes_of(create))


def describe_model(create: Create, config: EncoderConfig, title: str = "model") -> str:
    """Returns a line with family, sizes and number of parameters."""
    layers = f"{config.num_hidden_layers} layers"
    if config.num_physical_layers < config.num_hidden_layers:
        layers += f" of {config.num_physical_layers} set{'s' * (config.num_physical_layers > 1)} of parameters"
    sizes = f"{layers}, width {config.hidden_size}, {config.vocab_size} pieces"
    return f"{title}: {config.model_type}, {sizes}, {num_parameters(shapes_of(create)):,} parameters"


def resolved(execution: Execution, config: EncoderConfig) -> Execution:
    """Returns the execution with its `auto` values resolved for this model."""
    return execution.resolve(len(config.layer_sequence()))


def describe_execution(execution: Execution, config: EncoderConfig) -> str:
    """Returns a line with the resolved execution."""
    chosen = resolved(execution, config)
    how = f"{chosen.dtype}, {chosen.unroll} layer(s) unrolled, remat {chosen.remat}, attention {chosen.attention}"
    return f"execution: {how}"


def next_commands(more: str, model_class: type, directory: WorkPath) -> Sequence[str]:
    """Returns lines with the commands to paste after a run: to train longer, and to load the model."""
    here = directory if isinstance(directory, Path) else Path(directory.name)
    opened = f"fl.{model_class.__name__}.from_pretrained('{here}')"
    return [
        "next, to paste:",
        f"  {more}   # train twice as long",
        *([] if here is directory else [f"  gcloud storage cp --recursive {directory} ."]),
        f'  python -c "import flax_lite as fl; print({opened}.config)"',
    ]


def words_line(scores: dict[str, float], data: PretrainingData, title: str = "masked words:") -> str:
    """Returns a line with masked-LM metrics and the baselines to compare with."""
    words = f"loss {scores['mlm_loss']:.3f} nats, accuracy {scores['mlm_accuracy']:.1%}"
    return f"  {title:<15} {words} ({data.describe_references()})"


def examples(structure: nnx.GraphDef, data: PretrainingData, params: Any) -> list[str]:
    """Returns lines of held-out sentences with a word hidden in each and the model's guesses, or why there are none."""
    lines: list[str] = []
    with optional("held-out sentences with a hidden word", lines.append):
        model: PreTraining | MaskedLM = with_params(structure, jax.tree.map(jnp.asarray, params))
        shown = list(fill_mask_examples(model, data))
        return [f"{_NUMBERS[len(shown) // 2]} held-out sentences, a word hidden in each:", *shown]
    return lines


def inputs(request: Request) -> dict[str, str]:
    """Returns the fingerprints of a job's inputs, named as in its `fingerprints`, that are known without tokenizing."""
    tokenizer = request.workdir / "tokenizer"
    return fingerprints(request.values, tokenizer) if isinstance(tokenizer, Path) else {}


def log(line: str) -> None:
    """Prints a line and flushes."""
    print(line, flush=True)


def _batch_masks(data: PretrainingData) -> Callable[..., Any] | None:
    try:
        return batch_masks(data.recipe, data.train.tokenizer, data.train.store.token_counts)
    except ValueError as error:
        raise UserError(f"data.mask_smoothing: {error}") from error


def with_learning_rate(step: Callable[..., Any], learning_rate_at: optax.Schedule) -> Callable[..., Any]:
    """Returns the training step with its learning rate among the metrics."""

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
    # A loss that no row has is NaN, not 0, which would be the best.
    missing = {name for name, weight in weights.items() if not weight}
    if losses.keys() & missing:
        missing.add("loss")
    return {name: math.nan if name in missing else value for name, value in found.items()}


def describe_extension(values: dict[str, Any], former: int, total: int, step: int) -> str:
    """Returns a line about how more steps change the learning rate."""
    _, before = build.optimizer({**values, "total_steps": former})
    _, after = build.optimizer(values)
    return (
        f"the learning-rate decay now ends at step {total}: at step {step} the rate changes from "
        f"{np.asarray(before(step)):.3g} to {np.asarray(after(step)):.3g}; the warm-up stays "
        f"{values['optimizer.warmup_steps']} steps"
    )
