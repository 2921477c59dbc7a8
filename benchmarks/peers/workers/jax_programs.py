"""The cases for implementations that are pure functions in JAX, so that all of them are treated alike."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.peers.workers.program import CHECK_STRIDE, INPUTS, Arrays, Case, Description, Program, step_seconds

# Programs run in the thread that keeps freed memory. JAX reads this when it first looks for devices.
jax.config.update("jax_cpu_enable_async_dispatch", False)

_MIB = 2**20
Batch = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """A training step on masked words.

    Attributes:
        initial: makes the state before the first step.
        step: (state, batch) -> (next state, loss), with dropout.
        checked_step: the same without dropout.
        gradients: (state, batch) -> (loss, gradients) of `checked_step`.
        named: converts gradients to PyTorch's names and layout.
    """

    initial: Callable[[], Any]
    step: Callable[[Any, Batch], tuple[Any, jax.Array]]
    checked_step: Callable[[Any, Batch], tuple[Any, jax.Array]]
    gradients: Callable[[Any, Batch], tuple[jax.Array, Any]]
    named: Callable[[Any], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Implementation:
    """The functions and descriptions of a worker.

    Attributes:
        encoder: case -> (function, parameters); the function takes parameters, input_ids, attention_mask and
            token_type_ids, and returns the last hidden states [B, T, D].
        training: case -> its training step.
        settings: how the implementation is run.
        lacks: work that it leaves out or does differently.
    """

    encoder: Callable[[Case], tuple[Callable[..., jax.Array], Any]]
    training: Callable[[Case], Training]
    settings: str
    lacks: Sequence[str]


def build(implementation: Implementation, case: Case) -> Program:
    """Returns the program of a case."""
    jax.clear_caches()
    return _PROGRAMS[case["kind"]](implementation, case)


def load(path: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a file."""
    with np.load(path) as file:
        return dict(file)


class _JaxProgram(Program):
    timed: str

    def __init__(self, implementation: Implementation, case: Case) -> None:
        self.implementation, self.case, self.batch = implementation, case, load(case["batch"])
        self.description = Description(timed=self.timed, settings=implementation.settings, lacks=implementation.lacks)


class _Forward(_JaxProgram):
    timed = "host arrays to last hidden states on the host, all of it one jitted function"

    def __init__(self, implementation: Implementation, case: Case) -> None:
        super().__init__(implementation, case)
        function, self.params = implementation.encoder(case)
        self.function = jax.jit(function)

    def check(self) -> Arrays:
        return self.step()

    def step(self) -> Arrays:
        return {"hidden": np.asarray(self.function(self.params, *(self.batch[name] for name in INPUTS)))}


class _Sentences(_Forward):
    timed = "all pairs one by one, each padded to its bucket; first token's vector on the host"

    def __init__(self, implementation: Implementation, case: Case) -> None:
        super().__init__(implementation, case)
        function, _ = implementation.encoder(case)
        self.function = jax.jit(lambda *inputs: function(*inputs)[:, 0])
        self.vectors: Arrays = {}

    def check(self) -> Arrays:
        return self.vectors

    def step(self) -> Arrays:
        rows = []
        for number, bucket in enumerate(self.batch["buckets"]):
            inputs = (self.batch[name][number : number + 1, :bucket] for name in INPUTS)
            rows.append(np.asarray(self.function(self.params, *inputs)))
        self.vectors = {"vectors": np.concatenate(rows)}
        return self.vectors


class _TrainingStep(_JaxProgram):
    timed = "one update: forward, backward, AdamW, dropout on; one jitted function that donates its state"

    def __init__(self, implementation: Implementation, case: Case) -> None:
        super().__init__(implementation, case)
        self.training = implementation.training(case)
        self.function: Any = jax.jit(self.training.step, donate_argnums=0)
        self.state: Any = None

    def check(self) -> Arrays:
        batch = {name: array[::CHECK_STRIDE] for name, array in self.batch.items()}
        step, state = jax.jit(self.training.checked_step, donate_argnums=0), self.training.initial()
        state, _ = step(state, batch)
        _, after = step(state, batch)
        return {"loss_after": np.asarray(after), **self.loss_and_gradients(batch)}

    def loss(self) -> dict[str, np.ndarray]:
        """Returns the loss of the first state, without dropout; the compiler drops the unused gradients."""
        loss = jax.jit(lambda *given: self.training.gradients(*given)[0])
        return {"loss": np.asarray(loss(self.training.initial(), self.batch))}

    def loss_and_gradients(self, batch: Batch) -> dict[str, np.ndarray]:
        """Returns loss and gradients of the first state, without dropout."""
        loss, gradients = jax.jit(self.training.gradients)(self.training.initial(), batch)
        named = self.training.named(gradients)
        return {"loss": np.asarray(loss), **{f"gradient/{name}": array for name, array in named.items()}}

    def step(self) -> Arrays:
        if self.state is None:
            # Committed to its device, as after a step: an uncommitted state would be compiled for twice.
            self.state = jax.device_put(self.training.initial(), jax.devices()[0])
        self.state, loss = self.function(self.state, self.batch)
        jax.block_until_ready(self.state)  # the update is part of the step
        return {"loss": np.asarray(loss)}


class _FirstStep(_TrainingStep):
    timed = "from the start of the process: imports, weights, compilation, one update"

    def check(self) -> Arrays:
        return self.loss()


class _Compile(_TrainingStep):
    timed = "the training step traced, lowered and compiled from nothing, every cache empty"

    def __init__(self, implementation: Implementation, case: Case) -> None:
        super().__init__(implementation, case)
        as_shape = lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype)  # noqa: E731
        self.shapes = jax.tree.map(as_shape, self.training.initial())

    def check(self) -> Arrays:
        return self.loss()

    def step(self) -> Arrays:
        jax.clear_caches()
        traced = jax.jit(self.training.step, donate_argnums=0).trace(self.shapes, self.batch)
        self.function = traced.lower().compile()
        return {}

    def measure(self) -> dict[str, float]:
        self.state = None
        return step_seconds(super().step)


class _Memory(_TrainingStep):
    timed = "one update as in training; settings say whether layers are recomputed in the backward pass"

    def check(self) -> Arrays:
        return self.loss_and_gradients({name: array[:1] for name, array in self.batch.items()})

    def measure(self) -> dict[str, float]:
        shapes = jax.eval_shape(self.training.initial)
        self.function = self.function.trace(shapes, self.batch).lower().compile()
        return {"temporary_mib": self.function.memory_analysis().temp_size_in_bytes / _MIB}


_PROGRAMS: Mapping[str, Callable[[Implementation, Case], Program]] = {
    "forward": _Forward,
    "sts": _Sentences,
    "mlm": _TrainingStep,
    "first_step": _FirstStep,
    "compile": _Compile,
    "memory": _Memory,
    "memory_small": _Memory,
}
