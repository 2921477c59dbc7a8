"""The training loop of every job: setup, restore, steps with hooks, delivery."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from train.errors import StopError
from train.machine import hosts
from train.machine.host_memory import keep_freed_memory
from train.machine.mesh import check_batch_size, device_line, fetch, make_mesh, unused_accelerator
from train.machine.stopping import Stop
from train.options.request import Request
from train.run.best import Best
from train.run.checkpoints import Checkpoints
from train.run.compilation_cache import compilation_cache
from train.run.delivery import deliver, not_finite, stopped
from train.run.hooks import Evaluate, Log, Save
from train.run.job import Batch, Job, Params, Result, State
from train.run.metrics import Clock
from train.run.profiling import make_profiler
from train.run.programs import Programs
from train.run.progress import Progress
from train.run.records import Records
from train.run.start import Start, check_inputs, check_monitoring, expected_meta, restore_or_init, train_batches
from train.run.workdir import Inputs, WorkDir, open_on_all_hosts


def run(request: Request, build: Callable[[WorkDir], Job], inputs: Inputs | None = None) -> None:
    """Opens the request's work directory, builds the job, trains it and delivers the result.

    Args:
      request: the parsed command line.
      build: builds the job; called with the work directory locked, unless the job is complete already.
      inputs: returns the fingerprints of the data that the job would read (some or all of its `fingerprints`) without
        building it.

    Raises:
      UserError: the request cannot be carried out.
      StopError: a signal stopped the job; its state is saved.
      RunError: a loss was not finite, or a checkpoint could not be written.
    """
    with open_on_all_hosts(request, inputs) as work, contextlib.ExitStack() as stack:
        if work.finished:
            return
        clock = Clock()
        with clock("init"):
            mesh = make_mesh(request.config.mesh.data, request.config.mesh.fsdp)
            if jax.default_backend() == "cpu":
                keep_freed_memory()
            check_batch_size(request.config.batch_size, request.config.accumulation_steps, mesh.size)
            print("\n".join(filter(None, (device_line(mesh), unused_accelerator()))), flush=True)
            with hosts.sync_errors("preparing the job"):
                check_monitoring(request.config)
                print(stack.enter_context(compilation_cache(request.config.compilation_cache)), flush=True)
                job = build(work)
            check_inputs(job)
        fit(job, work, mesh, clock)


def fit(job: Job, work: WorkDir, mesh: Mesh, clock: Clock) -> None:
    """Trains a job to its total_steps and delivers the result. Raises as `run`."""
    config: Any = work.request.config
    progress, stop = Progress(config.total_steps, job.shown), Stop(work.request.guard)
    with contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(work.checkpoints, config.keep_checkpoints, progress.log, work.is_ours)
        stack.callback(checkpoints.close)
        with clock("init"):
            start = _start(job, work, mesh, checkpoints, progress.log)
            programs = Programs(job, mesh, start.abstract, start.shardings, stop, clock, progress)
            first = {"loss_sums": start.loss_sums, "writes": hosts.is_first()}
            records = Records(work, clock, progress, start.step, job, mesh, **first)
            stack.callback(records.close)
            profiler = make_profiler(work, start.step, clock, progress.log)
            stack.callback(profiler.close)
        batches = stack.enter_context(contextlib.closing(train_batches(job, start.step, config.total_steps)))

        best = Best(job, config.keep_best, start.best, work.patient_from)
        fail = functools.partial(not_finite, work, checkpoints)
        log = Log(records, stop, start.step, fail)
        evaluate = Evaluate(job, config, programs, best, records, stop, clock)
        save = Save(job, config, programs, checkpoints, best, records, clock, fail)
        try:
            with hosts.sync_errors("compiling"):
                batches = programs.compile(batches)
            state = start.state
            with work.request.guard.deferred(), progress.steps(start.step):
                evaluate.catch_up(start.step, state["params"])
                for step in range(start.step + 1, config.total_steps + 1):
                    # Checked before a resumed run's first step too: a signal may have interrupted `catch_up`.
                    if log.step and (stop.requested or best.is_too_old(log.step, config.eval_every_steps)):
                        break
                    batch = _next_batch(batches, programs, stop, clock)
                    if batch is None:
                        break
                    with clock("steps"):
                        train_step = programs.train_step(batch)
                        with jax.transfer_guard("disallow"):  # an implicit transfer would stall the devices
                            state, metrics = profiler.step(step, train_step, state, batch, *programs.constants)
                        flops = job.costs.flops(batch) if job.costs else None
                        log(step, metrics, flops, at_once=save.is_due(step) or evaluate.is_due(step) or stop.requested)
                    improved = evaluate.is_due(step) and evaluate(step, state["params"])
                    if save.is_due(step) or improved:
                        save(step, state)
                log.flush()
                save.finish(log.step, state)
                if stop.requested:
                    raise hosts.raised_everywhere(stopped(work, stop.reason, log.step))
                if log.step < config.total_steps:
                    progress.log(best.ended_early(log.step, config.total_steps))
            with clock("export"):
                step, params = _best_or_last(job, best, checkpoints, start, log.step, state)
                result = Result(fetch(params), step, records.evaluation(step), work.model, work.address(work.model))
            with hosts.sync_errors("delivering"):
                if hosts.is_first():
                    deliver(job, work, result, log.step, clock, records, progress)
                    checkpoints.prune(config.keep_checkpoints_after)
        except BaseException as error:
            _record_failure(error, start.step, checkpoints, records, progress.log)
            raise


def _start(job: Job, work: WorkDir, mesh: Mesh, checkpoints: Checkpoints, log: Callable[[str], None]) -> Start:
    """Describes the job to the user, and restores or initializes its state."""
    config: Any = work.request.config
    for line in (*job.describe, *job.describe_data):
        log(line)
    with hosts.sync_errors("starting"):
        start = restore_or_init(job, config.seed, mesh, checkpoints, log)
    if work.extended_from is not None:
        log(f"--extend: total_steps {work.extended_from} -> {config.total_steps}")
        if work.patient_from:
            log(f"the run had ended early at step {work.patient_from}: patience is counted anew from there")
        if job.describe_extension is not None:
            log(job.describe_extension(work.extended_from, config.total_steps, start.step))
    return start


def _next_batch(batches: Iterator[Batch], programs: Programs, stop: Stop, clock: Clock) -> dict[str, jax.Array] | None:
    """Returns the next batch on the devices, or None if a signal ended the data workers (Ctrl-C reaches them too)."""
    with clock("data"):
        try:
            return programs.put(next(batches))
        except Exception:
            if stop.requested:
                return None
            raise


def _best_or_last(
    job: Job, best: Best, checkpoints: Checkpoints, start: Start, last: int, state: State
) -> tuple[int, Params]:
    """Returns step and parameters of the best checkpoint, if it was kept and can be read, else of the last step."""
    if best.step is not None and best.is_kept and best.step != last:
        kept = checkpoints.load(best.step, start.abstract, expected_meta(job))
        if kept is not None:
            return best.step, kept["params"]
    return last, state["params"]


def _record_failure(
    error: BaseException, first_step: int, checkpoints: Checkpoints, records: Records, log: Callable[[str], None]
) -> None:
    """Waits for the save in progress and records the run's status, without hiding the error that ended the run.

    The recorded step is the last one with a complete checkpoint, or the run's first step if it saved none.
    """
    status = "interrupted" if getattr(error, "status", None) == StopError.status else "failed"
    try:
        try:
            checkpoints.wait()
        finally:
            records.status(status, max([first_step, *checkpoints.steps()]), reason=str(error))
    except Exception as second:
        log(f"also failed while ending the run: {second}")
