"""The circumstances of a measurement: device, versions, commit, time and load of the machine."""

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.run.provenance import provenance

MOMENT = ("started", "load_before")  # the keys of `moment`
_CPU_INFO = Path("/proc/cpuinfo")
_VARYING = ("host", "started", "process_count")


def circumstances() -> dict[str, Any]:
    """Returns what must be equal for two measurements to be comparable; starts JAX to name the device."""
    found = {name: value for name, value in provenance().items() if name not in _VARYING}
    return {**found, "cpu": _cpu_model(), "cpu_count": len(cores()), "xla_flags": os.environ.get("XLA_FLAGS", "")}


def moment() -> dict[str, Any]:
    """Returns the current time and the machine's load average over the last minute."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"started": now, "load_before": round(os.getloadavg()[0], 2)}


def cores() -> list[int]:
    """Returns the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def describe(about: Mapping[str, Any]) -> str:
    """Formats circumstances or settings as one line; nested mappings, such as versions, are flattened."""
    flat: dict[str, Any] = {}
    for name, value in about.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return ", ".join(f"{name} {'none' if value in ('', None) else value}" for name, value in flat.items())


def device_title(about: Mapping[str, Any]) -> str:
    """Returns the compilation target, the accelerator, or the number of cores and the CPU model."""
    if "target" in about:
        return about["target"]
    if about["device"] == "cpu":
        return f"{about['cpu_count']} cores of {about.get('cpu', 'an unnamed processor')}"
    return about["device"]


def _cpu_model() -> str:
    """Returns the processor's model name, or its architecture where the system does not report one."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.machine()
