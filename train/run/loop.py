"""The one loop of every job: setup, data, model, optimizer, restore, steps with hooks, delivery."""

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
from train.run.profiling import profiler_of
from train.run.programs import Programs
from train.run.progress import Progress
from train.run.records import Records
from train.run.start import Start, batches_after, check_inputs, check_observers, expected_meta, start
from train.run.workdir import Inputs, WorkDir, open_everywhere


def run(request: Request, build: Callable[[WorkDir], Job], inputs: Inputs | None = None) -> None:
    """Carries a request out: opens its work directory, builds the job, trains, delivers.

    Args:
      request: from the command line.
      build: makes the job; called with the work directory locked, unless the job is complete already.
      inputs: the fingerprints of what the job would read (some or all of its `identity`), without building it.

    Raises:
      UserError: the request cannot be carried out.
      StopError: a signal stopped it; what was done is saved.
      RunError: a loss was not finite, or a checkpoint could not be written.
    """
    with open_everywhere(request, inputs) as work, contextlib.ExitStack() as stack:
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
                check_observers(request.config)
                print(stack.enter_context(compilation_cache(request.config.compilation_cache)), flush=True)
                job = build(work)
            check_inputs(job)
        fit(job, work, mesh, clock)


def fit(job: Job, work: WorkDir, mesh: Mesh, clock: Clock) -> None:
    """Trains a job to its total_steps and delivers the result. Raises as `run`."""
    config: Any = work.request.config
    progress, stop = Progress(config.total_steps, job.shown), Stop(work.request.guard)
    with contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(work.checkpoints, config.keep_checkpoints, progress.say, work.is_ours)
        stack.callback(checkpoints.close)
        with clock("init"):
            begun = _begin(job, work, mesh, checkpoints, progress.say)
            programs = Programs(job, mesh, begun.abstract, begun.shardings, stop, clock, progress)
            records = Records(work, clock, progress, begun.step, job, mesh, writes=hosts.is_first())
            stack.callback(records.close)
            profiler = profiler_of(work, begun.step, clock, progress.say)
            stack.callback(profiler.close)
        source = stack.enter_context(contextlib.closing(batches_after(job, begun.step, config.total_steps)))

        best = Best(job, config.keep_best, begun.best, work.patient_from)
        fail = functools.partial(not_finite, work, checkpoints)
        log = Log(records, stop, begun.step, fail)
        evaluate = Evaluate(job, config, programs, best, records, stop, clock)
        save = Save(job, config, programs, checkpoints, best, records, clock, fail)
        try:
            with hosts.sync_errors("compiling"):
                batches = programs.compile(source)
            state = begun.state
            with work.request.guard.deferred(), progress.steps(begun.step):
                evaluate.catch_up(begun.step, state["params"])
                for step in range(begun.step + 1, config.total_steps + 1):
                    # Before the first step too: a signal may have interrupted the evaluation that was caught up.
                    if log.step and (stop.asked or best.is_too_old(log.step, config.eval_every_steps)):
                        break
                    batch = _next_batch(batches, programs, stop, clock)
                    if batch is None:
                        break
                    with clock("steps"):
                        step_fn = programs.step(batch)
                        with jax.transfer_guard("disallow"):
                            state, metrics = profiler.step(step, step_fn, state, batch, *programs.constants)
                        flops = job.costs.flops(batch) if job.costs else None
                        log(step, metrics, flops, at_once=save.is_due(step) or evaluate.is_due(step) or stop.asked)
                    improved = evaluate.is_due(step) and evaluate(step, state["params"])
                    if save.is_due(step) or improved:
                        save(step, state)
                log.flush()
                save.finish(log.step, state)
                if stop.asked:
                    raise hosts.everywhere(stopped(work, stop.reason, log.step))
                if log.step < config.total_steps:
                    progress.say(best.ended_early(log.step, config.total_steps))
            with clock("export"):
                step, params = _chosen(job, best, checkpoints, begun, log.step, state)
                evaluation, address = records.evaluation(step), work.address(work.model)
                result = Result(fetch(params), step, evaluation, work.model, address)
            with hosts.sync_errors("delivering"):
                if hosts.is_first():
                    deliver(job, work, result, log.step, clock, records, progress)
        except BaseException as error:
            _abandon(error, begun.step, checkpoints, records, progress.say)
            raise


def _begin(job: Job, work: WorkDir, mesh: Mesh, checkpoints: Checkpoints, say: Callable[[str], None]) -> Start:
    """Says what is trained, and restores or initializes its state."""
    config: Any = work.request.config
    for line in (*job.describe, *job.describe_data):
        say(line)
    with hosts.sync_errors("starting"):
        begun = start(job, config.seed, mesh, checkpoints, say)
    if work.extended_from is not None:
        say(f"--extend: total_steps {work.extended_from} -> {config.total_steps}")
        if work.patient_from:
            say(f"it had ended early at step {work.patient_from}: patience for a better evaluation begins anew there")
        if job.describe_extension is not None:
            say(job.describe_extension(work.extended_from, config.total_steps, begun.step))
    return begun


def _next_batch(batches: Iterator[Batch], programs: Programs, stop: Stop, clock: Clock) -> dict[str, jax.Array] | None:
    """The next batch, on the devices; None where a signal stopped what makes them (Ctrl-C reaches workers too)."""
    with clock("data"):
        try:
            return programs.put(next(batches))
        except Exception:
            if stop.asked:
                return None
            raise


def _chosen(
    job: Job, best: Best, checkpoints: Checkpoints, begun: Start, last: int, state: State
) -> tuple[int, Params]:
    """The best step where it was kept, else the last one; and its parameters."""
    if best.step is not None and best.is_kept and best.step != last:
        kept = checkpoints.load(best.step, begun.abstract, expected_meta(job))
        if kept is not None:
            return best.step, kept["params"]
    return last, state["params"]


def _abandon(
    error: BaseException, step: int, checkpoints: Checkpoints, records: Records, say: Callable[[str], None]
) -> None:
    """Lets the save in progress end and notes how the run did, without hiding the error that ends it.

    The step that is noted is the last one whose checkpoint is whole; where this run has saved none, the one it began
    from.
    """
    status = "interrupted" if getattr(error, "status", None) == StopError.status else "failed"
    try:
        try:
            checkpoints.wait()
        finally:
            records.status(status, max([step, *checkpoints.steps()]), reason=str(error))
    except Exception as second:
        say(f"and on the way out: {second}")
