"""What a student is while it learns, and what it begins with: a checkpoint, parts of its teacher, or random numbers."""

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
    """The student as it is trained: with the maps to the teacher's width that its losses can use, if wanted."""
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
    """Its parameters without the projections."""
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
    """How a student's first parameters are had; None where they are drawn from the seed.

    Args:
        values: the job's leaves.
        teacher: its teacher.
        data: its rows.
        student_class: its class, for a checkpoint.
        create: (rngs=...) to the student.
        trained: (rngs=...) to the student with its projections.
        rngs: makes the source of what neither has.

    Raises:
        UserError: if leaves contradict each other; by the function returned, if the parameters do not fit.
    """
    source, layers = values["init_from"], values["student.layers"]
    if layers and (source is not None or values["student.init"] != "teacher"):
        raise UserError(
            "student.layers names the teacher's layers to begin with: it goes with student.init=teacher alone"
        )
    if source is None and values["student.init"] == "random":
        return None

    def read() -> Any:
        params = shapes_of(trained)
        if source is not None:
            return _drawn(trained, rngs, params | build.load_params(student_class, source, shapes_of(create)))
        own, given = student_alone(params), jax.tree.map(jnp.asarray, teacher.params)
        try:
            begun = init_from_teacher(_as_task(own), _as_task(given), layers or None, _word_counts(data, teacher))
        except ValueError as error:
            raise UserError(f"student.init=teacher: {error}. Or give student.init=random") from error
        return _drawn(trained, rngs, params | (begun if "encoder" in own else begun["encoder"]))

    return read


def _drawn(create: Create, rngs: Callable[[], nnx.Rngs], params: Any) -> Any:
    """Parameters with every shape among them replaced by what `create` draws."""
    flat = traverse_util.flatten_dict(params, sep="/")
    missing = [path for path, leaf in flat.items() if isinstance(leaf, jax.ShapeDtypeStruct)]

    def draw() -> Mapping[str, Any]:  # under jit, what is not returned is not computed
        drawn = traverse_util.flatten_dict(get_params(create(rngs=rngs())), sep="/")
        return {path: drawn[path] for path in missing}

    return traverse_util.unflatten_dict({**flat, **(jax.jit(draw)() if missing else {})}, sep="/")


def _word_counts(data: PretrainingData, teacher: Teacher) -> np.ndarray:
    """How often the training text has each of the teacher's words, of which there may be more than pieces."""
    counts = data.train.store.token_counts
    return np.pad(counts, (0, teacher.config.vocab_size - len(counts)))


def _as_task(params: Any) -> Any:
    """Parameters as a task model has them: below "encoder", where they are those of an Encoder alone."""
    return params if "encoder" in params else {"encoder": params}
