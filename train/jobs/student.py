"""The student of a distillation: its projections and initial parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from flax_lite.checkpoints.sources.work_directory import PROJECTIONS
from flax_lite.distillation.initialization import init_from_teacher
from flax_lite.distillation.objective import Projections, needed_projections
from flax_lite.distillation.recipe import DistillationRecipe
from flax_lite.models.params import get_params
from train.data.pretraining.dataset import PretrainingData
from train.errors import UserError
from train.jobs import build
from train.jobs.language_model import Create, shapes_of
from train.jobs.teacher import Teacher


def with_projections(create: Create, recipe: DistillationRecipe, teacher: Teacher, *, project: bool) -> Create:
    """Returns `create` with the linear maps to the teacher's width that the losses use, if `project`."""
    names = needed_projections(recipe) if project else ()
    if not names:
        return create

    def trained(*, rngs: nnx.Rngs) -> nnx.Module:
        student: Any = create(rngs=rngs)
        maps = Projections(names, student.config.hidden_size, teacher.config.hidden_size, rngs=rngs)
        setattr(student, PROJECTIONS, maps)
        return student

    return trained


def student_alone(params: Any) -> Any:
    """Returns the student's parameters without the projections."""
    return {name: part for name, part in params.items() if name != PROJECTIONS}


def initial_params(
    values: Mapping[str, Any],
    teacher: Teacher,
    data: PretrainingData,
    student_class: type,
    create: Create,
    trained: Create,
    rngs: Callable[[], nnx.Rngs],
) -> Callable[[], Any] | None:
    """Returns a function that returns the student's initial parameters; None if they are random.

    Args:
        values: the job's options.
        teacher: the teacher.
        data: the training data, for the counts of a shared vocabulary.
        student_class: the class to load a checkpoint with.
        create: (rngs=...) to the student.
        trained: (rngs=...) to the student with its projections.
        rngs: returns the random stream of parameters that neither checkpoint nor teacher has.

    Raises:
        UserError: if options contradict each other; from the returned function, if the parameters do not fit.
    """
    source, layers = values["init_from"], values["student.layers"]
    if layers and (source is not None or values["student.init"] != "teacher"):
        raise UserError(
            "student.layers names the teacher's layers to start from: it needs student.init=teacher and no init_from"
        )
    if source is None and values["student.init"] == "random":
        return None

    def read() -> Any:
        params = shapes_of(trained)
        if source is not None:
            return _drawn(trained, rngs, params | build.load_params(student_class, source, shapes_of(create)))
        student, source_params = student_alone(params), jax.tree.map(jnp.asarray, teacher.params)
        counts = _word_counts(data, teacher)
        try:
            copied = init_from_teacher(_as_task(student), _as_task(source_params), layers or None, counts)
        except ValueError as error:
            raise UserError(f"student.init=teacher: {error}. Or give student.init=random") from error
        return _drawn(trained, rngs, params | (copied if "encoder" in student else copied["encoder"]))

    return read


def _drawn(create: Create, rngs: Callable[[], nnx.Rngs], params: Any) -> Any:
    """Returns `params` with every shape in it replaced by the parameters that `create` initializes."""
    flat = traverse_util.flatten_dict(params, sep="/")
    missing = [path for path, array in flat.items() if isinstance(array, jax.ShapeDtypeStruct)]

    def draw() -> Mapping[str, Any]:  # under jit, parameters that are not returned are not computed
        drawn = traverse_util.flatten_dict(get_params(create(rngs=rngs())), sep="/")
        return {path: drawn[path] for path in missing}

    return traverse_util.unflatten_dict({**flat, **(jax.jit(draw)() if missing else {})}, sep="/")


def _word_counts(data: PretrainingData, teacher: Teacher) -> np.ndarray:
    """Returns the training text's token counts, padded to the teacher's vocabulary size."""
    counts = data.train.store.token_counts
    return np.pad(counts, (0, teacher.config.vocab_size - len(counts)))


def _as_task(params: Any) -> Any:
    """Returns an Encoder's parameters below the key "encoder", as a task model has them."""
    return params if "encoder" in params else {"encoder": params}
