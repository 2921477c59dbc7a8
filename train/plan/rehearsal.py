"""Builds a job for its plan: on stand-in data, for devices that need not be present."""

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from ml_collections import config_dict

from flax_lite.layers.execution import Execution
from train.machine.chips import Target
from train.machine.mesh import check_batch_size, make_mesh, mesh_sizes
from train.options import runtime, schema
from train.options.request import Request
from train.run.job import Batch, Job
from train.run.workdir import WorkDir


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """How to build a job for its plan.

    Attributes:
        build: builds the job in a temporary work directory.
        request: the job's request.
        batches: number of first batches, one of which has the longest rows.
    """

    build: Callable[[WorkDir], Job]
    request: Request
    batches: int = 1


@dataclasses.dataclass(frozen=True)
class Planned:
    """A job built for a target.

    Attributes:
        job: the job, with the execution of the target's devices.
        batch: a global batch with the longest rows.
        constants: shapes of its step's constants.
        sizes: sizes of the mesh axes.
        target: the devices.
        request: the request, with `auto` resolved for the target.
    """

    job: Job
    batch: Batch
    constants: Any
    sizes: tuple[int, int]
    target: Target
    request: Request


@contextmanager
def rehearse(rehearsal: Rehearsal, target: Target) -> Iterator[Planned]:
    """Builds the job for a target, with a temporary work directory.

    Raises:
        UserError: the request does not fit the target.
    """
    request = _for_target(rehearsal.request, target)
    config = request.config
    sizes = mesh_sizes(config.mesh.data, config.mesh.fsdp, target.devices)
    check_batch_size(config.batch_size, config.accumulation_steps, sizes[0] * sizes[1])
    with tempfile.TemporaryDirectory() as directory:
        job = rehearsal.build(WorkDir(Path(directory), request))
        batch = _longest(job.train_batches(0), rehearsal.batches)
        constants = jax.tree.map(_shape, job.constants(make_mesh(1, 1)))
        yield Planned(job, batch, constants, sizes, target, request)


def _longest(batches: Iterator[Batch], count: int) -> Batch:
    try:
        return max(itertools.islice(batches, count), key=lambda batch: batch["input_ids"].size)
    finally:
        getattr(batches, "close", lambda: None)()


def _for_target(request: Request, target: Target) -> Request:
    """Returns the request with `auto` resolved for the target instead of the present devices."""
    values, chip = request.values, target.chip
    values["execution.dtype"] = runtime.execution(values).resolve(1, chip).dtype
    # The plan of a GPU traces the step on CPU devices, which have no fused attention, and unroll as a GPU does.
    if values["execution.attention"] == "auto":
        values["execution.attention"] = "xla"
    if values["execution.unroll"] == "auto" and chip.platform == "tpu":
        values["execution.unroll"] = 1
    if "data.workers" in values:
        values["data.workers"] = 0
    if values.get("distill.teacher_dtype") == "auto":
        values["distill.teacher_dtype"] = Execution(dtype="auto").resolve(1, chip).dtype
    return dataclasses.replace(request, config=config_dict.FrozenConfigDict(schema.nest(values)))


def _shape(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)
