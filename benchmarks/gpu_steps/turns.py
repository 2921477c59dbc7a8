"""Workers that build together and run one after another. Imports nothing that an environment of PyTorch lacks."""

import time
from pathlib import Path

_READY, _GO = "ready", "go"
_PAUSE_SECONDS = 0.05


def wait(folder: str) -> None:
    """A worker's: says that it has built, and waits until it may run."""
    (Path(folder) / _READY).touch()
    while not (Path(folder) / _GO).exists():
        time.sleep(_PAUSE_SECONDS)


def is_ready(folder: Path) -> bool:
    """Whether the worker of a folder has built."""
    return (folder / _READY).exists()


def give(folder: Path) -> None:
    """Lets the worker of a folder run."""
    (folder / _GO).touch()
