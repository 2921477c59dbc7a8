"""Files and directories that are replaced whole: a reader sees the old one or the new one."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole: a reader sees the old one or the new one."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    staged = path.with_name(f".{path.name}.staged")
    with staged.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)


@contextlib.contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """Yields a directory to fill; on a clean exit it takes the target's place, on any other it is removed."""
    staged, old = target.with_name(f".{target.name}.staged"), target.with_name(f".{target.name}.old")
    for leftover in (staged, old):
        shutil.rmtree(leftover, ignore_errors=True)
    staged.mkdir()
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    if target.exists():
        target.rename(old)
    staged.rename(target)
    shutil.rmtree(old, ignore_errors=True)
