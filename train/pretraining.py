"""Pretraining: masked words, with sentence order (ALBERT), next sentence (BERT) or neither; from text to a model.

python -m train.pretrain --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from flax_lite.config import EncoderConfig
from flax_lite.execution import Execution
from flax_lite.heads import MaskedLM, PreTraining
from flax_lite.pretrained import architecture
from flax_lite.state import abstract_params, num_parameters, with_params
from flax_lite.tokenization import Tokenizer
from flax_lite.training import (
    Objective,
    averages,
    init_state,
    make_eval_step,
    make_train_step,
    masked_lm_objective,
    pretraining_objective,
)
from train import build
from train.cli import Request
from train.data import pretraining
from train.data.batch_masks import batch_masks
from train.data.pretraining import PretrainingData
from train.data.recipe import PretrainingRecipe
from train.data.tokenizers import keep_tokenizer
from train.errors import UserError
from train.examples import fill_mask_examples
from train.job import Job, Result
from train.workdir import WorkDir


def make_job(work: WorkDir) -> Job:
    """Puts the job together: data, tokenizer, model, optimizer.

    Raises:
        UserError: if the leaves do not fit each other or the data.
    """
    values = work.request.values
    kept_tokenizer = work.path / "tokenizer"
    host = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    data = pretraining.open_data(values, kept_tokenizer, _say, **host)
    keep_tokenizer(data.tokenizer, kept_tokenizer)
    config = build.model_config(values, data.tokenizer)
    execution = build.execution(values)
    optimizer, learning_rate_at = build.optimizer(values)
    model_class, objective = _task(config, data.recipe)
    create = functools.partial(model_class, config, execution=execution)
    structure = nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))
    train_step = make_train_step(
        structure,
        objective,
        optimizer,
        seed=values["seed"],
        accumulation_steps=values["accumulation_steps"],
        prepare=_batch_masks(data),
    )
    eval_step = make_eval_step(structure, objective)
    return Job(
        init_state=lambda key: init_state(create(rngs=nnx.Rngs(key)), optimizer),
        train_step=_with_learning_rate(train_step, learning_rate_at),
        train_batches=functools.partial(data.train_batches, values["batch_size"], workers=values["data.workers"]),
        tokens_per_batch=values["batch_size"] * values["data.sequence_length"],
        export=functools.partial(_export, structure, data.tokenizer),
        eval_step=lambda params, batch: _flat(eval_step(params, batch)),
        eval_batches=functools.partial(data.eval_batches, values["batch_size"]),
        summarise=lambda sums: _summary(sums, dict(objective.losses)),
        describe=[*_describe(create, config, execution), *data.describe()],
        shown=("loss", *(name for name in objective.names if name.endswith("_accuracy"))),
        references=data.references(),
        model=config.replace(architectures=(architecture(model_class, config),)).to_json_dict(),
        identity={"data": data.fingerprint, "tokenizer": data.tokenizer.fingerprint},
        initial_params=_initial_params(values, model_class, create),
        describe_extension=functools.partial(_describe_extension, values),
        finish=functools.partial(_finish, work.request, structure, data),
    )


def _task(config: EncoderConfig, recipe: PretrainingRecipe) -> tuple[type[PreTraining] | type[MaskedLM], Objective]:
    """What the rows teach: words and a sentence task where they are pairs, words alone where they are packed texts."""
    if recipe.rows == "packed":
        return MaskedLM, masked_lm_objective()
    if not config.has_pooler:
        raise UserError(f"{config.model_type} has no sentence task: give data.rows=packed, or another model.preset")
    return PreTraining, pretraining_objective(recipe.pair_task)


def _batch_masks(data: PretrainingData) -> Callable[..., Any] | None:
    try:
        return batch_masks(data.recipe, data.train.tokenizer, data.train.store.token_counts)
    except ValueError as error:
        raise UserError(f"data.mask_smoothing: {error}") from error


def _with_learning_rate(step: Callable[..., Any], learning_rate_at: optax.Schedule) -> Callable[..., Any]:
    def stepped(state: Any, batch: Any) -> Any:
        next_state, metrics = step(state, batch)
        return next_state, {**metrics, "learning_rate": learning_rate_at(state["step"])}

    return stepped


def _flat(evaluation: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{kind}/{name}": value for kind, named in evaluation.items() for name, value in named.items()}


def _summary(flat_sums: dict[str, float], losses: dict[str, float]) -> dict[str, float]:
    sums, weights = ({} for _ in range(2))
    for path, value in flat_sums.items():
        kind, name = path.split("/")
        (sums if kind == "sums" else weights)[name] = value
    return {name: float(value) for name, value in averages(sums, weights, losses).items()}


def _initial_params(values: dict[str, Any], model_class: type, create: Callable[..., Any]) -> Callable[[], Any] | None:
    source = values["init_from"]
    if source is None:
        return None
    return functools.partial(build.load_params, model_class, source, abstract_params(lambda: create(rngs=nnx.Rngs(0))))


def _describe(create: Callable[..., Any], config: EncoderConfig, execution: Execution) -> list[str]:
    count = num_parameters(abstract_params(lambda: create(rngs=nnx.Rngs(0))))
    chosen = execution.resolve(len(config.layer_sequence()))
    layers = f"{config.num_hidden_layers} layers"
    if config.num_physical_layers < config.num_hidden_layers:
        layers += f" of {config.num_physical_layers} set{'s' * (config.num_physical_layers > 1)} of parameters"
    sizes = f"{layers}, width {config.hidden_size}, {config.vocab_size} pieces, {count:,} parameters"
    how = f"{chosen.dtype}, {chosen.unroll} layer(s) unrolled, remat {chosen.remat}, attention {chosen.attention}"
    return [f"model: {config.model_type}, {sizes}", f"execution: {how}"]


def _describe_extension(values: dict[str, Any], former: int, total: int, step: int) -> str:
    _, before = build.optimizer({**values, "total_steps": former})
    _, after = build.optimizer(values)
    return (
        f"the learning rate's decay is stretched to the new end: at step {step} it goes from "
        f"{np.asarray(before(step)):.3g} to {np.asarray(after(step)):.3g}"
    )


def _export(structure: nnx.GraphDef, tokenizer: Tokenizer, params: Any, directory: Path) -> None:
    model: PreTraining | MaskedLM = with_params(structure, params)
    model.save_pretrained(directory, format=("safetensors", "flax"))
    tokenizer.save(directory)


def _finish(request: Request, structure: nnx.GraphDef, data: PretrainingData, result: Result) -> None:
    for line in (*_scores(result, data), "", *_examples(structure, data, result), "", *_next_commands(request, result)):
        print(line, flush=True)


def _scores(result: Result, data: PretrainingData) -> list[str]:
    scores = result.evaluation
    if not scores:
        return []
    words = f"loss {scores['mlm_loss']:.3f} nats, accuracy {scores['mlm_accuracy']:.1%}"
    lines = [f"held out, step {result.step}:", f"  masked words:   {words} ({data.yardsticks()})"]
    if data.recipe.rows == "pairs":
        task = data.recipe.pair_task
        sentences = f"loss {scores[f'{task}_loss']:.3f} nats, accuracy {scores[f'{task}_accuracy']:.1%}"
        lines.append(f"  {_TASKS[task]}: {sentences} (always the commoner answer: {data.commoner_answer:.1%})")
    return lines


_TASKS = {"sop": "sentence order", "nsp": "next sentence"}


def _examples(structure: nnx.GraphDef, data: PretrainingData, result: Result) -> list[str]:
    model: PreTraining | MaskedLM = with_params(structure, jax.tree.map(jnp.asarray, result.params))
    return ["five held-out sentences, a word hidden in each:", *fill_mask_examples(model, data)]


def _next_commands(request: Request, result: Result) -> list[str]:
    more = request.command(extend=True, total_steps=str(2 * result.step))
    model = "PreTraining" if request.values["data.rows"] == "pairs" else "MaskedLM"
    return [
        "next, to paste:",
        f"  {more}   # train twice as long",
        f"  python -c \"import flax_lite as fl; print(fl.{model}.from_pretrained('{result.model}').config)\"",
    ]


def _say(line: str) -> None:
    print(line, flush=True)
