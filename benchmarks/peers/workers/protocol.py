"""A worker's side of the conversation: one JSON object a line, requests on standard input, answers on standard output.

    {"do": "prepare", "case": {...}}        -> {"description": {"timed", "settings", "lacks"}}
    {"do": "check", "to": FILE.npz}         -> {}      what is to be equal everywhere, written to the file
    {"do": "run", "times": N}               -> {"seconds": [...], "finite": true}
    {"do": "measure"}                       -> {"facts": {name: number}}

An error is answered as {"error": MESSAGE}. The conversation ends with the input.
"""

import abc
import dataclasses
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from train.machine.host_memory import give_back_freed_memory, keep_freed_memory

# Gradients are compared on every so many rows of a batch, some of them padded: enough to see what differs.
CHECK_STRIDE = 4
Arrays = Mapping[str, np.ndarray]
Case = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What a reader has to know about a time.

    Attributes:
        timed: what happens between the two readings of the clock.
        settings: how the implementation is run.
        lacks: what it does not do that others do, or does in another way.
    """

    timed: str
    settings: str
    lacks: Sequence[str] = ()


class Program(abc.ABC):
    """A case made ready by one implementation."""

    description: Description

    @abc.abstractmethod
    def check(self) -> Arrays:
        """What has to be equal in all implementations; not timed. Of a pass that was run once, its results."""

    @abc.abstractmethod
    def step(self) -> Arrays:
        """The work, once; its results are arrays of the host, so nothing is left to compute."""

    def timed_step(self) -> tuple[float, Arrays]:
        """The seconds that `step` takes, and what it returns."""
        start = time.perf_counter()
        results = self.step()
        return time.perf_counter() - start, results

    def measure(self) -> dict[str, float]:
        """Numbers other than the step's seconds."""
        return {}


def step_seconds(step: Callable[[], Any]) -> dict[str, float]:
    """The median, the least and the most of three calls, after one that is not counted."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    counted = seconds[1:]
    return {"step_seconds": statistics.median(counted), "step_least": min(counted), "step_most": max(counted)}


class _Worker:
    def __init__(self, build: Callable[[Case], Program]) -> None:
        self._build = build
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        if self._program is None:
            raise ValueError("nothing has been prepared")
        return self._program

    def prepare(self, case: Case) -> dict[str, Any]:
        self._program = self._build(case)
        return {"description": dataclasses.asdict(self._program.description)}

    def check(self, to: str) -> dict[str, Any]:
        np.savez(to, allow_pickle=False, **self.program.check())
        give_back_freed_memory()  # four implementations have to fit into the machine
        return {}

    def run(self, times: int) -> dict[str, Any]:
        seconds, finite = [], True
        for _ in range(times):
            elapsed, results = self.program.timed_step()
            seconds.append(elapsed)
            finite = finite and all(bool(np.isfinite(array).all()) for array in results.values())
        return {"seconds": seconds, "finite": finite}

    def measure(self) -> dict[str, Any]:
        return {"facts": self.program.measure()}


def serve(build: Callable[[Case], Program]) -> None:
    """Answers requests until there are no more; all keep the memory that they free, as this project's jobs do."""
    keep_freed_memory()
    # Libraries print: what they say goes where it does not break the conversation.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = _Worker(build)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
