"""Measurements in a process of their own: what they hold in memory is theirs, and so is their failure.

    python -m benchmarks.study.worker < {"questions": [{"part": "latency", "row": "bert-base", ...}], "folder": "."}

The command itself never starts JAX.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from benchmarks.circumstances import circumstances
from benchmarks.study import measure
from benchmarks.study.measure import Settings
from benchmarks.study.models import MODELS
from benchmarks.study.quality import quality
from flax_lite.architecture.config import EncoderConfig
from train.machine import child_process
from train.machine.host_memory import keep_freed_memory

_ROOT = Path(__file__).resolve().parents[2]
_FROM_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# The settings that each measurement depends on.
PARTS: Mapping[str, tuple[str, ...]] = {
    "size": ("lengths",),
    "disk": (),
    "latency": ("lengths", "repeats"),
    "throughput": ("batch", "batch_lengths", "repeats"),
    "pass": ("pairs", "data", "repeats"),
    "training": ("batch", "train_length", "repeats"),
    "inference_memory": ("batch", "train_length"),
    "training_memory": ("batch", "train_length"),
    "quality": ("data",),
}
_MEASURES: Mapping[str, Callable[[EncoderConfig, Settings], dict[str, Any]]] = {
    "size": measure.size,
    "disk": measure.disk,
    "latency": measure.latency,
    "throughput": measure.throughput,
    "training": measure.training,
    "inference_memory": measure.inference_memory,
    "training_memory": measure.training_memory,
}


def question(row: str, part: str, settings: Settings, checkpoint: str | None) -> dict[str, Any]:
    """All that the answer depends on, but for the machine and the versions."""
    own = {name: getattr(settings, name) for name in ("smoke", *PARTS[part])}
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    more = {"checkpoint": checkpoint} if part == "quality" else {}
    return {"row": row, "part": part, "settings": own, **more}


def ask(
    questions: Sequence[Mapping[str, Any]], limit_seconds: float, *, smoke: bool = False
) -> list[dict[str, Any] | str]:
    """Has one worker answer each; the reason where it did not.

    A program that a cache held would not be compiled, so there is none, unless nothing is measured (`smoke`). Paths are
    from this process's folder.
    """
    asked = {"questions": questions, "folder": os.getcwd()}
    with TemporaryDirectory(prefix="study-cache-") as cache:
        environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        if smoke:
            environment = {"JAX_COMPILATION_CACHE_DIR": cache, _FROM_SECONDS: "0", **os.environ}
        found = child_process.run("benchmarks.study.worker", asked, environment, limit_seconds, _ROOT)
    return [found] * len(questions) if isinstance(found, str) else found["answers"]


def _answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    part = asked["part"]
    if part == "circumstances":
        return circumstances()
    model, settings = MODELS[asked["row"]], Settings(**asked["settings"])
    config = model.config(smoke=settings.smoke)
    if part == "quality":
        return quality(asked["checkpoint"], settings.data or "")
    if part == "pass":
        return measure.sts_pass(config, settings, model.tokenizer)
    return _MEASURES[part](config, settings)


def _attempt(asked: Mapping[str, Any]) -> dict[str, Any] | str:
    try:
        return _answer(asked)
    except Exception as error:  # whatever it is, it is this row's, and the others are measured
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"


def main() -> int:
    """Answers what standard input asks. Freed memory is kept as in the jobs, unless memory is what is measured."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    asked = child_process.read_request()
    questions = asked["questions"]
    os.chdir(asked["folder"])
    measures_memory = any(one["part"].endswith("memory") for one in questions)
    if not measures_memory and jax.default_backend() == "cpu":
        keep_freed_memory()
    child_process.write_answer({"answers": [_attempt(one) for one in questions]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
