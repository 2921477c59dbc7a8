"""Builds the distillation job from teacher, data, student and losses.

python -m train.distill --config configs/distilbert_tiny.py --config.teacher=SOURCE
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.distillation.losses import LOSSES
from flax_lite.distillation.objective import (
    distillation_objective,
    fit_recipe,
    student_predicts_words,
    teacher_predicts_words,
)
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.layers.execution import Execution
from flax_lite.models.encoder import Encoder
from flax_lite.models.flops import Costs
from flax_lite.models.heads import MaskedLM
from flax_lite.models.params import num_parameters
from flax_lite.training.objective import averages, masked_lm_objective
from flax_lite.training.steps import make_eval_step
from train.data.pretraining import dataset
from train.data.pretraining.dataset import Prepare, PretrainingData
from train.data.tokenizers import save_tokenizer
from train.data.vocabulary import check_tables
from train.errors import UserError
from train.jobs import build
from train.jobs.language_model import (
    Create,
    describe_execution,
    describe_model,
    examples,
    export,
    exported,
    log,
    make_language_model_job,
    next_commands,
    resolved,
    shapes_of,
    structure_of,
    words_line,
)
from train.jobs.student import initial_params, student_alone, with_projections
from train.jobs.teacher import Teacher, open_teacher, random_teacher
from train.options import runtime, schema
from train.options.request import Request
from train.options.tables import RANDOM
from train.run.job import Job, Result
from train.run.workdir import WorkDir

# Losses measured on held-out rows whether optimized or not, if the models allow it, so that ablations compare.
_ALWAYS_MEASURED = ("soft_cross_entropy", "mlm", "cosine")


def make_job(work: WorkDir, prepare: Prepare = dataset.prepare) -> Job:
    """Builds the job.

    Args:
        work: the work directory.
        prepare: returns the tokenized data.

    Raises:
        UserError: if the options do not fit each other, the teacher or the data.
    """
    values = work.request.values
    wanted = _recipe(values)
    data, teacher = _open(work, wanted, prepare)
    config = build.model_config(values, data.tokenizer, base=teacher.config, vocab_size=teacher.config.vocab_size)
    wanted = dataclasses.replace(wanted, num_pieces=data.tokenizer.vocab_size)
    recipe, measured = _fitted(wanted, config, teacher, values["distill.project"])
    execution = runtime.execution(values)
    teacher_execution = dataclasses.replace(execution, dtype=values["distill.teacher_dtype"], remat="none")
    teacher_execution = teacher_execution.resolve(len(teacher.config.layer_sequence()))
    student_class = MaskedLM if student_predicts_words(wanted) else Encoder
    create = functools.partial(student_class, config, execution=execution)
    trained = with_projections(create, recipe, teacher, project=values["distill.project"])
    teacher_scores = functools.cache(functools.partial(_teacher_scores, teacher, data, values["batch_size"]))
    rngs = functools.partial(build.initial_rngs, jax.random.key(values["seed"]), work.streams)
    objectives = (distillation_objective(each, teacher.structure(teacher_execution)) for each in (recipe, measured))
    return make_language_model_job(
        work,
        data,
        trained,
        next(objectives),
        measured=next(objectives),
        model=exported(student_class, config),
        task="fill-mask" if student_class is MaskedLM else "sentence-embedding",
        export=functools.partial(_export, structure_of(create), data, values["model_format"]),
        costs=Costs(
            config=config,
            execution=resolved(execution, config),
            predictions=data.recipe.max_predictions if "mlm" in recipe.losses else 0,
            teacher=teacher.config,
            word_chunks=0 if recipe.restrict_to_mask else teacher_predicts_words(recipe) * recipe.num_chunks,
        ),
        fingerprints={"teacher": teacher.fingerprint},
        initial_params=initial_params(values, teacher, data, student_class, create, trained, rngs),
        constants=functools.partial(_constants, teacher, teacher_execution),
        describe=[
            *_describe(teacher, create, config, execution, str(teacher_execution.compute_dtype), recipe),
            build.describe_dropout(values, config),
        ],
        describe_data=_describe_data(teacher, data, teacher_scores),
        finish=functools.partial(
            _finish, work.request, teacher, teacher_scores, structure_of(create), student_class, data
        ),
    )


def _recipe(values: Mapping[str, Any]) -> DistillationRecipe:
    options = schema.group(values, "distill")
    return DistillationRecipe(
        losses={name: values[f"losses.{name}"] for name in LOSSES if values[f"losses.{name}"]},
        temperature=options["temperature"],
        restrict_to_mask=options["restrict_ce_to_mask"],
        layer_map=options["layer_map"],
        relation_layers=options["relation_layers"],
        relation_heads=options["relation_heads"],
        num_chunks=options["logit_chunks"],
    )


def _open(work: WorkDir, wanted: DistillationRecipe, prepare: Prepare) -> tuple[PretrainingData, Teacher]:
    """Returns the data, and the teacher with the data's vocabulary."""
    words = {"read_words": student_predicts_words(wanted), "need_words": teacher_predicts_words(wanted)}
    values, kept_tokenizer = work.request.values, work.path / "tokenizer"
    is_random = values["teacher"] == RANDOM
    # Before the data, which may take hours, so that an unsuitable teacher fails at once.
    teacher = None if is_random else open_teacher(values["teacher"], **words)
    host = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    data = dataset.open_data(values, kept_tokenizer, log, prepare=prepare, **host)
    if teacher is None:
        teacher = random_teacher(data.tokenizer, predicts_words=words["read_words"])
    elif data.kept_ids is not None:
        teacher = teacher.trimmed(data.kept_ids)
    if data.kept_ids is not None and values["init_from"] is not None:
        raise UserError("trim_vocabulary trims the teacher's vocabulary, not that of init_from: give one of the two")
    length = values["data.sequence_length"]
    check_tables(f"teacher={teacher.source}", teacher.config, data.tokenizer, length=length)
    save_tokenizer(data.tokenizer, kept_tokenizer)
    return data, teacher


def _fitted(
    wanted: DistillationRecipe, student: EncoderConfig, teacher: Teacher, project: bool
) -> tuple[DistillationRecipe, DistillationRecipe]:
    """Returns the recipe to optimize, and the one to measure on held-out rows, which may have more losses."""
    fit = functools.partial(fit_recipe, student=student, teacher=teacher.config, project=project)
    try:
        recipe = fit(wanted)
    except ValueError as error:
        raise UserError(f"losses, distill: {error}") from error
    measured = recipe
    for name in _ALWAYS_MEASURED:
        readers = {None: True, "student": student_predicts_words(recipe), "both": teacher.predicts_words}
        if name not in recipe.losses and readers[LOSSES[name].words]:
            with contextlib.suppress(ValueError):  # these models do not allow it
                measured = fit(dataclasses.replace(measured, losses={**measured.losses, name: 0.0}))
    return recipe, measured


def _export(
    structure: nnx.GraphDef,
    data: PretrainingData,
    model_format: str,
    params: Any,
    directory: Path,
    evaluation: Mapping[str, float],
) -> None:
    export(structure, data.tokenizer, model_format, student_alone(params), directory, evaluation)


def _constants(teacher: Teacher, execution: Execution, mesh: jax.sharding.Mesh) -> tuple[Any, ...]:
    return (teacher.placed(mesh, execution.compute_dtype),)


def _describe(
    teacher: Teacher,
    create: Create,
    config: EncoderConfig,
    execution: Execution,
    teacher_dtype: str,
    recipe: DistillationRecipe,
) -> list[str]:
    make_teacher = functools.partial(teacher.model_class, teacher.config)
    share = num_parameters(shapes_of(create)) / num_parameters(teacher.params)
    weights = ", ".join(f"{weight:g} {name}" for name, weight in recipe.losses.items())
    return [
        describe_model(make_teacher, teacher.config, f"teacher: {teacher.source}"),
        f"{describe_model(create, config, 'student')}, {share:.0%} of the teacher's",
        f"losses: {weights}",
        f"{describe_execution(execution, config)}; teacher in {teacher_dtype}",
    ]


def _describe_data(
    teacher: Teacher, data: PretrainingData, teacher_scores: Callable[[], dict[str, float]]
) -> Iterator[str]:
    """Yields lines about the data and the teacher's score on it, which runs compute as they start and plans do not."""
    yield from data.describe()
    if not teacher.predicts_words or teacher.source == RANDOM:
        return
    scores = teacher_scores()
    yield words_line(scores, data, "teacher:").strip()
    if not scores["mlm_loss"] < data.unigram_entropy:  # NaN included
        yield (
            f"WARNING: teacher={teacher.source} predicts held-out words no better than their frequencies (loss "
            f"{scores['mlm_loss']:.3f} nats, unigram entropy {data.unigram_entropy:.3f}). Check that the tokenizer and "
            "the language are those it was trained with"
        )


def _finish(
    request: Request,
    teacher: Teacher,
    teacher_scores: Callable[[], dict[str, float]],
    structure: nnx.GraphDef,
    student_class: type,
    data: PretrainingData,
    result: Result,
) -> None:
    lines = [f"held out, step {result.step}:"]
    scores = result.evaluation
    if "mlm_loss" in scores:
        lines.append(words_line(scores, data))
        if teacher.predicts_words:
            reference = teacher_scores()
            lines.append(words_line(reference, data, "teacher:"))
            if reference["mlm_accuracy"] > 0:
                kept = scores["mlm_accuracy"] / reference["mlm_accuracy"]
                lines.append(f"  the student keeps {kept:.1%} of the teacher's accuracy")
            else:
                lines.append("  the teacher's accuracy is 0, so the student's is not compared with it")
    others = (f"{name.removesuffix('_loss')} {scores[name]:.4g}" for name in scores if name.endswith("_loss"))
    lines.append(f"  losses: {', '.join(others)}")
    if student_class is MaskedLM:
        lines += ["", *examples(structure, data, student_alone(result.params))]
    more = request.command(extend=True, total_steps=str(2 * result.step))
    for line in (*lines, "", *next_commands(more, student_class, result.address)):
        log(line)


def _teacher_scores(teacher: Teacher, data: PretrainingData, batch_size: int) -> dict[str, float]:
    """Returns the teacher's masked-LM metrics on the held-out rows."""
    objective = masked_lm_objective(data.tokenizer.vocab_size)
    step = jax.jit(make_eval_step(teacher.structure(Execution()), objective))
    params = jax.tree.map(jnp.asarray, teacher.params)
    parts = [jax.device_get(step(params, batch)) for batch in data.eval_batches(batch_size)]
    total = jax.tree.map(lambda *values: float(sum(values)), *parts)
    return averages(total["sums"], total["weights"], objective.losses)
