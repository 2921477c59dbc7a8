"""One group: a case of one model, all rivals' processes side by side, one of them busy at a time."""

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.comparison import differences
from benchmarks.peers.conversation import Worker, WorkerError
from benchmarks.peers.rivals import MEMORY_KINDS, OURS, Rival
from benchmarks.peers.turns import order

# A library's threads may spin for a moment after its work: the next in turn starts after that.
_PAUSE_SECONDS = 0.2


@dataclasses.dataclass
class Row:
    """What came of one rival in one group.

    Attributes:
        title: of the rival.
        description: what is timed, under which settings, and what it lacks.
        seconds: of each round.
        cold_seconds: of the first pass, where it counts.
        facts: other numbers.
        differences: from ours, in tolerances.
        reason: why there are no seconds.
        final: whether it does not have to be tried again: it has not failed, it does not fit.
    """

    title: str
    description: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: list[float] = dataclasses.field(default_factory=list)
    cold_seconds: float | None = None
    facts: dict[str, float] = dataclasses.field(default_factory=dict)
    differences: dict[str, float] = dataclasses.field(default_factory=dict)
    reason: str = ""
    final: bool = False

    def refuse(self, reason: str) -> None:
        """No number of a rival that was refused is kept."""
        self.seconds, self.cold_seconds, self.facts = [], None, {}
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """What a group needs to be run.

    Attributes:
        case: what workers are told, but for their own options.
        rivals: who takes part, ours among them.
        pythons: the interpreter of each, or why there is none.
        rounds: turns of each.
        folder: for logs and results on their way.
    """

    case: Mapping[str, Any]
    rivals: Mapping[str, Rival]
    pythons: Mapping[str, Path | str]
    rounds: int
    folder: Path

    @property
    def kind(self) -> str:
        """Of the case."""
        return self.case["kind"]

    def worker(self, name: str) -> Worker:
        """A rival's process.

        Raises:
            WorkerError: if it has no environment.
        """
        python, rival = self.pythons[name], self.rivals[name]
        if isinstance(python, str):
            raise WorkerError(python)
        return Worker(rival.title, python, rival.module, self.case["threads"], self.folder / f"{name}.log")

    def turns(self, rows: Mapping[str, Row], number: int) -> list[str]:
        """Who is to run in a round, in order: those that have failed, or have had their rounds, are not."""
        going = [name for name, row in rows.items() if not row.reason]
        return order([name for name in going if number < self._rounds_of(name)], number)

    def _rounds_of(self, name: str) -> int:
        return min(self.rounds, self.rivals[name].most_rounds.get(self.kind, self.rounds))

    def case_of(self, name: str) -> dict[str, Any]:
        """What a rival is told."""
        return {**self.case, "options": dict(self.rivals[name].options)}


def run_group(group: Group) -> dict[str, Row]:
    """Prepares, compares with ours, then takes turns. A rival that fails keeps its row, empty, with the reason."""
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
                row.description = workers[name].ask("prepare", case=group.case_of(name))["description"]
                if group.kind == "sts":
                    row.cold_seconds = _run(workers[name])
                if group.kind in MEMORY_KINDS:
                    row.facts = workers[name].ask("measure")["facts"]
        _compare(group, rows, lambda name: _results(group, name, workers[name]))
        for name in _going(rows):
            with _refusing(rows[name]):
                _warm_up(group, rows[name], workers[name])
        for number in range(group.rounds):
            for name in group.turns(rows, number):
                with _refusing(rows[name]):
                    time.sleep(_PAUSE_SECONDS)
                    rows[name].seconds.append(_run(workers[name]))
        if group.kind == "compile":
            for name in _going(rows):
                with _refusing(rows[name]):
                    rows[name].facts = workers[name].ask("measure")["facts"]


def _going(rows: Mapping[str, Row]) -> list[str]:
    return [name for name, row in rows.items() if not row.reason]


def _warm_up(group: Group, row: Row, worker: Worker) -> None:
    if group.kind in MEMORY_KINDS and (needed := row.facts["temporary_mib"]) > (there := _available_mib()):
        row.reason, row.final = f"not run: it needs {needed:.0f} MiB of temporaries, {there:.0f} MiB are free", True
    elif group.kind in ("forward", "mlm", *MEMORY_KINDS):
        _run(worker)


def _available_mib() -> float:
    """Free memory and what the system would give back; all there is, where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**10


def _run(worker: Worker) -> float:
    answer = worker.ask("run", times=1)
    if not answer["finite"]:
        raise WorkerError("its results are not finite")
    return answer["seconds"][0]


def _compare(group: Group, rows: dict[str, Row], results: Callable[[str], dict[str, np.ndarray]]) -> None:
    """Every rival with ours, which come first; one whose results differ is refused."""
    with np.load(group.case["batch"]) as batch:
        mask = batch["attention_mask"]
    ours: dict[str, np.ndarray] | None = None
    for name in _going(rows):
        with _refusing(rows[name]):
            if name == OURS:
                ours = results(name)
            elif ours is None:
                rows[name].refuse("not run: there is nothing to compare it with")
            else:
                _judge(rows[name], differences(ours, results(name), mask))


def _results(group: Group, name: str, worker: Worker) -> dict[str, np.ndarray]:
    file = group.folder / "results" / f"{name}.npz"
    file.parent.mkdir(exist_ok=True)
    worker.ask("check", to=str(file))
    with np.load(file) as arrays:
        results = dict(arrays)
    file.unlink()
    return results


def _judge(row: Row, found: dict[str, float]) -> None:
    row.differences = found
    worst = max(found, key=lambda name: found[name])
    if not found[worst] <= 1:
        row.refuse(f"refused: its {worst} differs from ours by {found[worst]:.3g} times what is allowed")


@contextlib.contextmanager
def _refusing(row: Row) -> Any:
    try:
        yield
    except (WorkerError, ValueError) as error:
        row.refuse(f"no time: {error}")


def _time_to_first_step(group: Group, rows: dict[str, Row]) -> None:
    """From the start of a process to its first step's end, once a round, nothing else alive.

    A first start is not counted: its results are compared, and the system has read the libraries' files afterwards.
    """

    def first(name: str) -> dict[str, np.ndarray]:
        with group.worker(name) as worker:
            rows[name].description = worker.ask("prepare", case=group.case_of(name))["description"]
            _run(worker)
            return _results(group, name, worker)

    _compare(group, rows, first)
    for number in range(group.rounds):
        for name in group.turns(rows, number):
            with _refusing(rows[name]):
                time.sleep(_PAUSE_SECONDS)
                start = time.perf_counter()
                with group.worker(name) as worker:
                    worker.ask("prepare", case=group.case_of(name))
                    _run(worker)
                    rows[name].seconds.append(time.perf_counter() - start)
