"""Whether a job is asked to stop, as all hosts see it: they have to leave the steps at the same one."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from train.machine import hosts
from train.machine.signals import Guard

_ASKED = "stop_asked"


class Stop:
    """Tells when to stop.

    On one host, as soon as its guard has heard a signal. On several, each sends with a batch whether its own guard has
    (`sent`), the step itself returns whether any has (`with_stop_flag`), and all read that (`heard`) with that
    step's numbers.

    Args:
      guard: of this process.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard, self._several = guard, hosts.count() > 1
        self._agreed = False

    @property
    def asked(self) -> bool:
        """Whether to stop at the next step boundary; the same on all hosts."""
        return self._agreed if self._several else self._guard.signal_name is not None

    @property
    def reason(self) -> str:
        """What asked for it."""
        return self._guard.signal_name or "a signal to another host"

    def sent(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """A batch that goes to the devices, with this host's flag for each of its own."""
        if not self._several:
            return batch
        flag = self._guard.signal_name is not None
        return {**batch, _ASKED: np.full(jax.local_device_count(), flag, np.int32)}

    def heard(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """A step's outputs without the flag, which is noted."""
        kept = dict(outputs)
        if (flag := kept.pop(_ASKED, None)) is not None:
            self._agreed |= bool(flag)
        return kept


def with_stop_flag(step: Callable[..., Any]) -> Callable[..., Any]:
    """A training or evaluation step that passes on whether any host was asked to stop; on one host, the step itself."""
    if hosts.count() == 1:
        return step

    @functools.wraps(step)
    def passing_on(state: Any, batch: Mapping[str, Any], *constants: Any) -> Any:
        flags = {_ASKED: batch[_ASKED].max()}
        outputs = step(state, {name: array for name, array in batch.items() if name != _ASKED}, *constants)
        return (outputs[0], {**outputs[1], **flags}) if isinstance(outputs, tuple) else {**outputs, **flags}

    return passing_on
