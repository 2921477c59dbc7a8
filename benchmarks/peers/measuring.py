"""One group: a case of one model, with a process for each rival, one of them busy at a time."""

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.timing import turn_order
from benchmarks.harness.workers import ROOT, Worker, WorkerError
from benchmarks.peers.comparison import differences
from benchmarks.peers.results import Row
from benchmarks.peers.rivals import FLAX_LITE, MEMORY_KINDS, Rival

_LIMIT_SECONDS = 1800.0
# A library's threads may spin for a moment after its work, so the next turn waits.
_PAUSE_SECONDS = 0.2
# The user's flags and caches would be another setting than the reported one.
_DROPPED = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "LIBTPU_INIT_ARGS", "TORCHINDUCTOR_CACHE_DIR")
_SET = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "0",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """The inputs of a group.

    Attributes:
        case: arguments of all workers, except for their options.
        rivals: all that take part, flax_lite among them.
        pythons: the interpreter of each, or the reason why there is none.
        rounds: turns of each.
        folder: for logs and intermediate results.
    """

    case: Mapping[str, Any]
    rivals: Mapping[str, Rival]
    pythons: Mapping[str, Path | str]
    rounds: int
    folder: Path

    @property
    def kind(self) -> str:
        """The kind of the case."""
        return self.case["kind"]

    def worker(self, name: str) -> Worker:
        """Starts a rival's process; raises WorkerError if it has no environment."""
        python, rival = self.pythons[name], self.rivals[name]
        if isinstance(python, str):
            raise WorkerError(python)
        environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        # JAX's number of threads follows from the cores that the process may use.
        environment |= _SET | {"OMP_NUM_THREADS": str(self.case["threads"])}
        return Worker(rival.module, environment, python=python, log=self.folder / f"{name}.log")

    def turns(self, rows: Mapping[str, Row], number: int) -> list[str]:
        """Returns the rivals that run in a round, in order, without those that failed or have had their rounds."""
        return turn_order([name for name in _running(rows) if number < self._rounds_of(name)], number)

    def _rounds_of(self, name: str) -> int:
        return min(self.rounds, self.rivals[name].most_rounds.get(self.kind, self.rounds))

    def case_of(self, name: str) -> dict[str, Any]:
        """Returns the arguments of a rival's worker."""
        return {**self.case, "options": dict(self.rivals[name].options)}


def run_group(group: Group) -> dict[str, Row]:
    """Prepares the rivals, compares their results, then takes turns. A rival that fails keeps a row with the reason."""
    shutil.rmtree(group.folder, ignore_errors=True)
    group.folder.mkdir(parents=True)
    rows = {name: Row(rival.title) for name, rival in group.rivals.items()}
    measure = _time_to_first_step if group.kind == "first_step" else _take_turns
    measure(group, rows)
    shutil.rmtree(group.folder / "results", ignore_errors=True)
    return rows


def _take_turns(group: Group, rows: dict[str, Row]) -> None:
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, row in rows.items():
            with _refusing(row):
                workers[name] = stack.enter_context(group.worker(name))
                _prepare(group, name, workers[name], row)
                if group.kind == "sts":
                    row.cold_seconds = _run(workers[name])
                if group.kind in MEMORY_KINDS:
                    row.facts = workers[name].ask("measure", _LIMIT_SECONDS)["facts"]
        _compare(group, rows, lambda name: _results(group, name, workers[name]))
        for name in _running(rows):
            with _refusing(rows[name]):
                _warm_up(group, rows[name], workers[name])
        for number in range(group.rounds):
            for name in group.turns(rows, number):
                with _refusing(rows[name]):
                    time.sleep(_PAUSE_SECONDS)
                    rows[name].seconds.append(_run(workers[name]))
        if group.kind == "compile":
            for name in _running(rows):
                with _refusing(rows[name]):
                    rows[name].facts = workers[name].ask("measure", _LIMIT_SECONDS)["facts"]


def _running(rows: Mapping[str, Row]) -> list[str]:
    return [name for name, row in rows.items() if not row.reason]


def _prepare(group: Group, name: str, worker: Worker, row: Row) -> None:
    row.description = worker.ask("prepare", _LIMIT_SECONDS, case=group.case_of(name))["description"]


def _warm_up(group: Group, row: Row, worker: Worker) -> None:
    if group.kind in MEMORY_KINDS and (needed := row.facts["temporary_mib"]) > (free := _available_mib()):
        row.reason, row.final = f"not run: it needs {needed:.0f} MiB of temporaries, {free:.0f} MiB are free", True
    elif group.kind in ("forward", "mlm", *MEMORY_KINDS):
        _run(worker)


def _available_mib() -> float:
    """Returns free and reclaimable memory, or all physical memory if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**10


def _run(worker: Worker) -> float:
    answer = worker.ask("run", _LIMIT_SECONDS)
    if not answer["finite"]:
        raise WorkerError("its results are not finite")
    return answer["seconds"]


def _compare(group: Group, rows: dict[str, Row], results: Callable[[str], dict[str, np.ndarray]]) -> None:
    """Compares every rival with flax_lite, which comes first; a rival whose results differ is refused."""
    with np.load(group.case["batch"]) as batch:
        mask = batch["attention_mask"]
    reference: dict[str, np.ndarray] | None = None
    for name in _running(rows):
        row = rows[name]
        with _refusing(row):
            if name == FLAX_LITE:
                reference = results(name)
            elif reference is None:
                row.refuse("not run: there is nothing to compare it with")
            else:
                row.differences = differences(reference, results(name), mask)
                worst, factor = max(row.differences.items(), key=lambda item: item[1])
                if not factor <= 1:
                    row.refuse(f"refused: its {worst} differs from flax_lite's by {factor:.3g} times the tolerance")


def _results(group: Group, name: str, worker: Worker) -> dict[str, np.ndarray]:
    file = group.folder / "results" / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    worker.ask("check", _LIMIT_SECONDS, to=str(file))
    with np.load(file) as arrays:
        results = dict(arrays)
    file.unlink()
    return results


@contextlib.contextmanager
def _refusing(row: Row) -> Iterator[None]:
    try:
        yield
    except (WorkerError, ValueError) as error:
        row.refuse(f"no time: {error}")


def _time_to_first_step(group: Group, rows: dict[str, Row]) -> None:
    """Times from the start of a process to the end of its first step, once per round, with no other process alive.

    The first start is not timed: its results are compared, and after it the libraries' files are in the page cache.
    """

    def first(name: str) -> dict[str, np.ndarray]:
        with group.worker(name) as worker:
            _prepare(group, name, worker, rows[name])
            _run(worker)
            return _results(group, name, worker)

    _compare(group, rows, first)
    for number in range(group.rounds):
        for name in group.turns(rows, number):
            with _refusing(rows[name]):
                time.sleep(_PAUSE_SECONDS)
                start = time.perf_counter()
                with group.worker(name) as worker:
                    _prepare(group, name, worker, rows[name])
                    _run(worker)
                    rows[name].seconds.append(time.perf_counter() - start)
