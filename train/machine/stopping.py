"""The decision to stop a job after a signal, agreed on by all hosts: they have to leave the loop at the same step."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from train.machine import hosts
from train.machine.signals import Guard

_FLAG = "stop_requested"


class Stop:
    """Whether the job was asked to stop, with the same answer on all hosts.

    On one host: whether its guard has received a signal. On several hosts the flag travels with the data: each host
    adds its own to a batch (`add_flag`), the step returns the maximum over all hosts (`with_stop_flag`), and each host
    reads that from the step's outputs (`read_flag`).

    Args:
      guard: the signal handler of this process.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard, self._several_hosts = guard, hosts.count() > 1
        self._agreed = False

    @property
    def requested(self) -> bool:
        """Whether to stop at the next step boundary; the same on all hosts."""
        return self._agreed if self._several_hosts else self._guard.signal_name is not None

    @property
    def reason(self) -> str:
        """The name of the signal, or "a signal to another host"."""
        return self._guard.signal_name or "a signal to another host"

    def add_flag(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the batch with this host's flag, repeated for each of its devices."""
        if not self._several_hosts:
            return batch
        flag = self._guard.signal_name is not None
        return {**batch, _FLAG: np.full(jax.local_device_count(), flag, np.int32)}

    def read_flag(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Notes the flag in a step's outputs and returns the outputs without it."""
        kept = dict(outputs)
        if (flag := kept.pop(_FLAG, None)) is not None:
            self._agreed |= bool(flag)
        return kept


def with_stop_flag(step: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a training or evaluation step so that it also returns whether any host was asked to stop.

    On one host, returns the step itself.
    """
    if hosts.count() == 1:
        return step

    @functools.wraps(step)
    def flagged_step(state: Any, batch: Mapping[str, Any], *constants: Any) -> Any:
        flags = {_FLAG: batch[_FLAG].max()}
        outputs = step(state, {name: array for name, array in batch.items() if name != _FLAG}, *constants)
        return (outputs[0], {**outputs[1], **flags}) if isinstance(outputs, tuple) else {**outputs, **flags}

    return flagged_step
