"""A worker that takes one measurement of one encoder, and the driver's way to ask it."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import jax

from benchmarks.harness.circumstances import circumstances
from benchmarks.harness.serving import Handlers, serve
from benchmarks.harness.workers import Worker, WorkerError
from benchmarks.study import measure
from benchmarks.study.measure import Settings
from benchmarks.study.models import MODELS
from benchmarks.study.quality import quality
from flax_lite.architecture.config import EncoderConfig
from train.machine.host_memory import keep_freed_memory

_MIN_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
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
    """Returns everything that the answer depends on, except for machine and versions."""
    relevant = {name: getattr(settings, name) for name in ("smoke", *PARTS[part])}
    relevant = {name: list(value) if isinstance(value, tuple) else value for name, value in relevant.items()}
    more = {"checkpoint": checkpoint} if part == "quality" else {}
    return {"row": row, "part": part, "settings": relevant, **more}


def ask(
    questions: Sequence[Mapping[str, Any]], limit_seconds: float, *, smoke: bool = False
) -> list[dict[str, Any] | str]:
    """Asks one worker all questions; returns the answer to each, or the reason why there is none.

    There is no compilation cache, because a cached program would not be compiled, except in a smoke run, which measures
    nothing. Relative paths in questions start from this process's directory.
    """
    with TemporaryDirectory(prefix="study-cache-") as cache:
        environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        if smoke:
            environment = {"JAX_COMPILATION_CACHE_DIR": cache, _MIN_SECONDS: "0", **os.environ}
        with Worker("benchmarks.study.worker", environment) as worker:
            return [_ask(worker, one, limit_seconds) for one in questions]


def _ask(worker: Worker, asked: Mapping[str, Any], limit_seconds: float) -> dict[str, Any] | str:
    try:
        return worker.ask("measure", limit_seconds, asked=asked, directory=os.getcwd())
    except WorkerError as error:
        return str(error)


def answer(asked: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """Measures. Freed memory is kept as in the jobs, unless memory is measured."""
    os.chdir(directory)
    part = asked["part"]
    if part == "circumstances":
        return circumstances()
    if not part.endswith("memory") and jax.default_backend() == "cpu":
        keep_freed_memory()
    model, settings = MODELS[asked["row"]], Settings(**asked["settings"])
    config = model.config(smoke=settings.smoke)
    if part == "quality":
        return quality(asked["checkpoint"], settings.data or "")
    if part == "pass":
        return measure.sts_pass(config, settings, model.tokenizer)
    return _MEASURES[part](config, settings)


HANDLERS: Handlers = {"measure": answer}

if __name__ == "__main__":
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # programs run in the thread that keeps freed memory
    serve(HANDLERS)
    sys.exit(0)
