"""The one loop of every job: setup, data, model, optimizer, restore, steps, eval, save."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from train.errors import RunError, StopError, UserError
from train.machine import hosts
from train.machine.host_memory import keep_freed_memory
from train.machine.mesh import (
    check_batch_size,
    device_line,
    fetch,
    make_mesh,
    on_whole_parameters,
    put_batch,
    unused_accelerator,
)
from train.machine.stopping import Stop, hearing
from train.options.request import Request
from train.run.best import Best
from train.run.checkpoints import Checkpoints, all_finite
from train.run.compilation_cache import compilation_cache
from train.run.delivery import deliver, not_finite, stopped
from train.run.job import Batch, Job, Outputs, Params, Result, State
from train.run.metrics import Clock
from train.run.profiling import Profiler
from train.run.programs import ByShape, jitted_step
from train.run.progress import Progress
from train.run.records import NotFiniteError, Records
from train.run.start import Start, batches_after, check_inputs, check_observers, expected_meta, start
from train.run.workdir import WorkDir, open_everywhere


def run(request: Request, build: Callable[[WorkDir], Job]) -> None:
    """Carries a request out: opens its work directory, builds the job, trains, delivers.

    Args:
      request: from the command line.
      build: makes the job; called with the work directory locked, unless the job is complete already.

    Raises:
      UserError: the request cannot be carried out.
      StopError: a signal stopped it; what was done is saved.
      RunError: a loss was not finite, or a checkpoint could not be written.
    """
    with open_everywhere(request) as work, contextlib.ExitStack() as stack:
        if work.finished:
            return
        clock = Clock()
        with clock("init"):
            mesh = make_mesh(request.config.mesh.data, request.config.mesh.fsdp)
            if jax.default_backend() == "cpu":
                keep_freed_memory()
            check_batch_size(request.config.batch_size, request.config.accumulation_steps, mesh.size)
            print("\n".join(filter(None, (device_line(mesh), unused_accelerator()))), flush=True)
            with hosts.together("preparing the job"):
                check_observers(request.config)
                print(stack.enter_context(compilation_cache(request.config.compilation_cache)), flush=True)
                job = build(work)
            check_inputs(job)
        fit(job, work, mesh, clock)


def fit(job: Job, work: WorkDir, mesh: Mesh, clock: Clock) -> None:
    """Trains a job to its total_steps and delivers the result. Raises as `run`."""
    config: Any = work.request.config
    progress = Progress(config.total_steps, job.shown)
    with contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(work.checkpoints, config.keep_checkpoints, progress.say, work.is_ours)
        stack.callback(checkpoints.close)
        with clock("init"):
            for line in (*job.describe, *job.describe_data):
                progress.say(line)
            with hosts.together("starting"):
                begun = start(job, config.seed, mesh, checkpoints, progress.say)
            constants = job.constants(mesh)
            _say_extension(job, work, begun.step, progress.say)
            records = Records(work, clock, progress, begun.step, job, mesh, writes=hosts.is_first())
            stack.callback(records.close)
            places = {"directory": work.profile, "shown": work.request.workdir / work.profile.name}
            profiler = Profiler(**config.profile, **places, done=begun.step, clock=clock, say=progress.say)
            stack.callback(profiler.close)
        source = stack.enter_context(contextlib.closing(batches_after(job, begun.step, config.total_steps)))
        trainer = _Trainer(job, work, mesh, clock, progress, checkpoints, records, profiler, begun, constants)
        try:
            with hosts.together("compiling"):
                batches = trainer.compile(source)
            with work.request.guard.deferred(), progress.steps(begun.step):
                state = trainer.train(begun.state, batches)
            trainer.deliver(state)
        except BaseException as error:
            trainer.abandon(error)
            raise


class _Trainer:
    """The loop's phases, and what they share."""

    def __init__(
        self,
        job: Job,
        work: WorkDir,
        mesh: Mesh,
        clock: Clock,
        progress: Progress,
        checkpoints: Checkpoints,
        records: Records,
        profiler: Profiler,
        begun: Start,
        constants: tuple[Any, ...],
    ) -> None:
        self.job, self.work, self.mesh, self.clock = job, work, mesh, clock
        self.progress, self.checkpoints, self.records, self.begun = progress, checkpoints, records, begun
        self.profiler, self.constants = profiler, constants
        self.config: Any = work.request.config
        self.total: int = self.config.total_steps
        self.stop = Stop(work.request.guard)
        self.step = begun.step
        self.best = Best(job, self.config.keep_best, begun.best)

    def compile(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Compiles all that the steps call, for the first batches' shapes; returns all training batches."""
        abstract = self.begun.abstract
        self.finite = self._compile("the check of the parameters", all_finite, abstract["params"])
        if self.job.eval_step is not None:
            sample = next(iter(self.job.eval_batches()), None)
            if sample is None:
                raise UserError("there are no held-out rows: give data.eval_source, or more of data.eval_fraction")
            eval_step = jax.jit(hearing(on_whole_parameters(self.job.eval_step)))
            compile_for = functools.partial(self._compile, "the evaluation step", eval_step)
            self.eval_fn = ByShape(compile_for, abstract["params"], self.constants)
            self.eval_fn.compile(self._put(sample))
        with self.clock("data"):
            sample = next(batches, None)
        if sample is None:
            return batches
        step = jitted_step(self.job, self.begun.shardings, self.mesh)
        self.step_fn = ByShape(functools.partial(self._compile, "the training step", step), abstract, self.constants)
        self.step_fn.compile(self._put(sample))
        return itertools.chain([sample], batches)

    def train(self, state: State, batches: Iterator[Batch]) -> State:
        """Takes the remaining steps; evaluates and saves when due; saves and raises StopError where a signal asks."""
        self._catch_up(state["params"])
        flying = None  # metrics of the step that the devices work on: read one step late, so that they never wait
        for step in range(self.step + 1, self.total + 1):
            # Before the first step too: a signal may have interrupted the evaluation in _catch_up.
            if self.step and (self.stop.asked or self.best.is_too_old(self.step, self.config.eval_every_steps)):
                break
            batch = self._next_batch(batches)
            if batch is None:
                break
            with self.clock("steps"):
                step_fn = self.step_fn.compile(batch)
                with jax.transfer_guard("disallow"):
                    state, metrics = self.profiler.step(step, step_fn, state, batch, *self.constants)
                self._report(flying)
                flops = self.job.costs.flops(batch) if self.job.costs else None
                flying, self.step = (step, metrics, flops), step
                save = step % self.config.checkpoint_every_steps == 0 or step == self.total
                if save or self._eval_is_due(step) or self.stop.asked:
                    self._report(flying)
                    flying = None
            improved = self._eval_is_due(step) and self._evaluate(state["params"])
            if save or improved:
                self._save(state)
        self._report(flying)
        with self.clock("checkpoint"):
            self.checkpoints.wait()
        if self.stop.asked:
            self._stop(state)
        if self.step < self.total:
            self._end_early(state)
        return state

    def deliver(self, state: State) -> None:
        """Writes model/ and the plots, prints the end, and marks the job finished."""
        with self.clock("export"):
            step, params = self._chosen(state)
            model = self.work.model
            result = Result(
                params=fetch(params),
                step=step,
                evaluation=self.records.evaluation(step),
                model=model,
                address=self.work.address(model),
            )
        with hosts.together("delivering"):
            if hosts.is_first():
                deliver(self.job, self.work, result, self.total, self.clock, self.records, self.progress)

    def abandon(self, error: BaseException) -> None:
        """Lets the save in progress end and notes how the run did, without hiding the error that ends it."""
        try:
            self.checkpoints.wait()
            status = "interrupted" if getattr(error, "status", None) == StopError.status else "failed"
            self.records.status(status, self.step, reason=str(error))
        except Exception as second:
            self.progress.say(f"and on the way out: {second}")

    def _compile(self, what: str, jitted: Any, *arguments: Any) -> Callable[..., Any]:
        with self.clock("compile"), self.progress.working(f"compiling {what}"), jax.set_mesh(self.mesh):
            return jitted.lower(*arguments).compile()

    def _put(self, batch: Batch) -> dict[str, jax.Array]:
        return put_batch(self.stop.sent(batch), self.mesh)

    def _next_batch(self, batches: Iterator[Batch]) -> dict[str, jax.Array] | None:
        """The next batch, on the devices; None where a signal stopped what makes them (Ctrl-C reaches workers too)."""
        with self.clock("data"):
            try:
                return self._put(next(batches))
            except Exception:
                if self.stop.asked:
                    return None
                raise

    def _report(self, flying: tuple[int, Any, float | None] | None) -> None:
        if flying is not None:
            step, metrics, flops = flying
            try:
                self.records.train_row(step, self.stop.heard(metrics), flops)
            except NotFiniteError as error:
                raise self._not_finite(step, str(error)) from error

    def _eval_is_due(self, step: int) -> bool:
        due = step > 0 and (step % self.config.eval_every_steps == 0 or step == self.total)
        return due and self.job.eval_step is not None

    def _catch_up(self, params: Params) -> None:
        """Scores the restored step where an interruption left that out; a score that came after the save counts too."""
        if not self._eval_is_due(self.step):
            return
        row = hosts.from_first("rows", self.records.evaluation(self.step))
        if row:
            self.best.update(self.step, row)
        else:
            self._evaluate(params)

    def _evaluate(self, params: Params) -> bool:
        """Scores the held-out rows; returns whether they make this step the best, to be kept."""
        with self.clock("eval"):
            results: list[Outputs] = []
            for batch in self.job.eval_batches():
                if self.stop.asked:
                    return False  # the continued run sees that the row is missing
                results.append(self.stop.heard(fetch(self.eval_fn(params, self._put(batch)))))
            row = self.job.summarise(results)
            self.records.eval_row(self.step, row)
        return self.best.update(self.step, row)

    def _end_early(self, state: State) -> None:
        if not self.checkpoints.has(self.step):
            self._save(state)
            self.checkpoints.wait()
        best: Any = self.best.found
        self.progress.say(
            f"ended at step {self.step} of {self.total}: {best['metric']} has not been better than {best['value']:.4g} "
            f"(step {best['step']}) for {self.job.patience} evaluations"
        )
        self.total = self.step

    def _save(self, state: State) -> None:
        with self.clock("checkpoint"):
            if not bool(self.finite(state["params"])):
                raise self._not_finite(self.step, "the parameters are not finite after it")
            with hosts.together("syncing the records"):
                self.records.sync()
            meta = {"step": self.step, "next_row": self.step * self.config.batch_size, "best": self.best.found}
            meta["model"] = dict(self.job.model)
            self.checkpoints.save(self.step, state, meta | expected_meta(self.job), self.best.step)
            with hosts.together("noting the step"):
                self.records.status("running", self.step)

    def _stop(self, state: State) -> None:
        if not self.checkpoints.has(self.step):
            self._save(state)
            self.checkpoints.wait()
        raise hosts.everywhere(stopped(self.work, self.stop.reason, self.step))

    def _chosen(self, state: State) -> tuple[int, Params]:
        """The best step's parameters where it was kept, else the last's."""
        step = self.best.step
        if step is not None and self.config.keep_best and step != self.total:
            best = self.checkpoints.load(step, self.begun.abstract, expected_meta(self.job))
            if best is not None:
                return step, best["params"]
        return self.total, state["params"]

    def _not_finite(self, step: int, what: str) -> RunError:
        error = not_finite(self.work, self.checkpoints, step, what)
        hosts.everywhere(error)  # all read the same number at the same step
        return error


def _say_extension(job: Job, work: WorkDir, step: int, say: Callable[[str], None]) -> None:
    if work.extended_from is not None:
        total = work.request.config.total_steps
        say(f"--extend: total_steps {work.extended_from} -> {total}")
        if job.describe_extension is not None:
            say(job.describe_extension(work.extended_from, total, step))
