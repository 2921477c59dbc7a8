"""The requests that the workers answer, in the protocol of `benchmarks.harness.serving`.

{"do": "prepare", "case": {...}}  -> {"description": {"timed", "settings", "lacks"}}
{"do": "check", "to": FILE.npz}   -> {}      writes the arrays that all implementations must agree on
{"do": "run"}                     -> {"seconds": 0.5, "finite": true}
{"do": "measure"}                 -> {"facts": {name: number}}
"""

import abc
import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.serving import serve
from train.machine.host_memory import give_back_freed_memory, keep_freed_memory

# Gradients are compared on every fourth row of a batch, which includes padded rows.
CHECK_STRIDE = 4
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Arrays = Mapping[str, np.ndarray]
Case = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """The facts that a reader needs about a time.

    Attributes:
        timed: the work between the two readings of the clock.
        settings: how the implementation is run.
        lacks: work that it leaves out or does differently.
    """

    timed: str
    settings: str
    lacks: Sequence[str] = ()


class Program(abc.ABC):
    """A case prepared by one implementation."""

    description: Description

    @abc.abstractmethod
    def check(self) -> Arrays:
        """Returns arrays that must be equal in all implementations; not timed. For a pass that has run, its results."""

    @abc.abstractmethod
    def step(self) -> Arrays:
        """Does the work once; its results are arrays on the host, so nothing is left to compute."""

    def timed_step(self) -> tuple[float, Arrays]:
        """Returns the seconds of a step, and its results."""
        start = time.perf_counter()
        results = self.step()
        return time.perf_counter() - start, results

    def measure(self) -> dict[str, float]:
        """Returns numbers other than the step's seconds."""
        return {}


def step_seconds(step: Callable[[], Any]) -> dict[str, float]:
    """Returns median, minimum and maximum of three calls, after one that is not counted."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    counted = seconds[1:]
    return {"step_seconds": statistics.median(counted), "step_least": min(counted), "step_most": max(counted)}


class Service:
    """The handlers of a worker.

    Args:
        build: prepares a case.
    """

    program: Program

    def __init__(self, build: Callable[[Case], Program]) -> None:
        self._build = build
        self.handlers = {"prepare": self.prepare, "check": self.check, "run": self.run, "measure": self.measure}

    def prepare(self, case: Case) -> dict[str, Any]:
        """Prepares a case and describes it."""
        self.program = self._build(case)
        return {"description": dataclasses.asdict(self.program.description)}

    def check(self, to: str) -> dict[str, Any]:
        """Writes the arrays to compare, and returns freed memory to the system, which runs four implementations."""
        np.savez(to, allow_pickle=False, **self.program.check())
        give_back_freed_memory()
        return {}

    def run(self) -> dict[str, Any]:
        """Times a step."""
        seconds, results = self.program.timed_step()
        return {"seconds": seconds, "finite": all(bool(np.isfinite(array).all()) for array in results.values())}

    def measure(self) -> dict[str, Any]:
        """Returns other numbers."""
        return {"facts": self.program.measure()}


def serve_programs(build: Callable[[Case], Program]) -> None:
    """Serves requests; all implementations keep the memory that they free, as this project's jobs do."""
    keep_freed_memory()
    serve(Service(build).handlers)
