"""Builds the pretraining job: masked LM, with sentence order (ALBERT), next sentence (BERT) or neither.

python -m train.pretrain --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]
"""

import functools

import jax
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.models.flops import Costs
from flax_lite.models.heads import MaskedLM, PreTraining
from flax_lite.rows.recipe import PretrainingRecipe
from flax_lite.training.objective import Objective, masked_lm_objective, pretraining_objective
from train.data.pretraining import dataset
from train.data.pretraining.dataset import Prepare, PretrainingData
from train.data.tokenizers import save_tokenizer
from train.errors import UserError
from train.jobs import build
from train.jobs.language_model import (
    describe_execution,
    describe_model,
    examples,
    exported,
    initial_params,
    log,
    make_language_model_job,
    next_commands,
    resolved,
    structure_of,
    words_line,
)
from train.options import runtime
from train.options.request import Request
from train.run.job import Job, Result
from train.run.workdir import WorkDir


def make_job(work: WorkDir, prepare: Prepare = dataset.prepare) -> Job:
    """Builds the job.

    Args:
        work: the work directory.
        prepare: returns the tokenized data.

    Raises:
        UserError: if the options do not fit each other or the data.
    """
    values = work.request.values
    kept_tokenizer = work.path / "tokenizer"
    host = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    data = dataset.open_data(values, kept_tokenizer, log, prepare=prepare, **host)
    save_tokenizer(data.tokenizer, kept_tokenizer)
    config = build.model_config(values, data.tokenizer, num_types=2 if data.recipe.rows == "pairs" else 1)
    execution = runtime.execution(values)
    model_class, objective = _task(config, data.recipe, data.tokenizer.vocab_size)
    create = functools.partial(model_class, config, execution=execution)
    return make_language_model_job(
        work,
        data,
        create,
        objective,
        model=exported(model_class, config),
        costs=Costs(config=config, execution=resolved(execution, config), predictions=data.recipe.max_predictions),
        initial_params=initial_params(values, model_class, create),
        describe=[describe_model(create, config), describe_execution(execution, config)],
        references=data.references(),
        finish=functools.partial(_finish, work.request, structure_of(create), model_class, data),
    )


def _task(
    config: EncoderConfig, recipe: PretrainingRecipe, num_pieces: int
) -> tuple[type[PreTraining] | type[MaskedLM], Objective]:
    """Returns model class and objective: masked LM and a sentence task for pairs, masked LM for packed texts."""
    if recipe.rows == "packed":
        return MaskedLM, masked_lm_objective(num_pieces)
    if not config.has_pooler:
        raise UserError(f"{config.model_type} has no sentence task: give data.rows=packed, or another model.preset")
    return PreTraining, pretraining_objective(recipe.pair_task, num_pieces)


def _finish(
    request: Request, structure: nnx.GraphDef, model_class: type, data: PretrainingData, result: Result
) -> None:
    more = request.command(extend=True, total_steps=str(2 * result.step))
    commands = next_commands(more, model_class, result.address)
    for line in (*_scores(result, data), "", *examples(structure, data, result.params), "", *commands):
        log(line)


def _scores(result: Result, data: PretrainingData) -> list[str]:
    scores = result.evaluation
    if not scores:
        return []
    lines = [f"held out, step {result.step}:", words_line(scores, data)]
    if data.recipe.rows == "pairs":
        task = data.recipe.pair_task
        name = "sentence order" if task == "sop" else "next sentence"
        sentences = f"loss {scores[f'{task}_loss']:.3f} nats, accuracy {scores[f'{task}_accuracy']:.1%}"
        lines.append(f"  {name}: {sentences} (always the commoner answer: {data.majority_accuracy:.1%})")
    return lines
