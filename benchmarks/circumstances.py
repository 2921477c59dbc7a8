"""Under which circumstances something is measured."""

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.run.provenance import provenance

MOMENT = ("started", "load_before")  # what `beginning` says
_CPU_INFO = Path("/proc/cpuinfo")
_NOT_ALIKE = ("host", "started", "process_count")


def circumstances() -> dict[str, Any]:
    """What has to be the same for numbers to be comparable, but for the load of the machine."""
    found = {name: value for name, value in provenance().items() if name not in _NOT_ALIKE}
    return {**found, "cpu": _cpu(), "cpu_count": len(cores()), "xla_flags": os.environ.get("XLA_FLAGS", "")}


def cores() -> list[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def told(about: Mapping[str, Any]) -> str:
    """Circumstances in one line; what is within one of them, as versions, goes without its name."""
    return ", ".join(f"{name} {one}" for name, value in about.items() for name, one in _said(name, value).items())


def place(about: Mapping[str, Any]) -> str:
    """Where that was: a target, a device, or cores of a processor."""
    if "target" in about:
        return about["target"]
    if about["device"] == "cpu":
        return f"{about['cpu_count']} cores of {about.get('cpu', 'a processor without a name')}"
    return about["device"]


def beginning() -> dict[str, Any]:
    """When a measurement begins, and the load average of the minute before, with what was measured then."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"started": now, "load_before": round(os.getloadavg()[0], 2)}


def _cpu() -> str:
    """What the processor calls itself; its architecture where the system does not tell."""
    if _CPU_INFO.exists():
        names = (line.partition(":") for line in _CPU_INFO.read_text(encoding="utf-8").splitlines())
        if found := {name.strip(): value.strip() for name, _, value in names}.get("model name"):
            return found
    return platform.machine()


def _said(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    return {name: "none" if value in ("", None) else value}
