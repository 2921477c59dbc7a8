"""Under which circumstances something is measured."""

import datetime
import os
from collections.abc import Mapping
from typing import Any

from train.provenance import provenance

_NOT_ALIKE = ("host", "started", "process_count")


def circumstances() -> dict[str, Any]:
    """What has to be the same for numbers to be comparable, but for the load of the machine."""
    found = {name: value for name, value in provenance().items() if name not in _NOT_ALIKE}
    return {**found, "cpu_count": os.cpu_count(), "xla_flags": os.environ.get("XLA_FLAGS", "")}


def told(about: Mapping[str, Any]) -> str:
    """Circumstances in one line; what is within one of them, as versions, goes without its name."""
    return ", ".join(f"{name} {one}" for name, value in about.items() for name, one in _said(name, value).items())


def beginning() -> dict[str, Any]:
    """When a measurement begins, and the load of the machine before it."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"started": now, "load_before": round(os.getloadavg()[0], 2)}


def _said(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    return {name: "none" if value in ("", None) else value}
