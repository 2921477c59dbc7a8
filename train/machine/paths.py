"""Paths of work directories: on a local disk, or in Google Cloud Storage as gs://BUCKET/PATH.

A path in a bucket is an `etils.epath.Path` on top of gcsfs; Orbax accepts it too. An object store has no directories: a
directory exists while an object has its prefix, and moving it means moving each object.
"""

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

from etils import epath

from train.errors import UserError

WorkPath = Path | epath.Path

_SCHEME = "gs://"


def work_path(text: str) -> WorkPath:
    """Converts the text of --workdir to a path.

    Raises:
      UserError: it names a bucket without a path, or gcsfs is not installed.
    """
    if not text.startswith(_SCHEME):
        return Path(os.path.expanduser(text))
    bucket, _, name = text.removeprefix(_SCHEME).strip("/").partition("/")
    if not bucket or not name:
        raise UserError(f"--workdir {text}: expected {_SCHEME}BUCKET/PATH")
    _prepare(text)
    return epath.Path(f"{_SCHEME}{bucket}/{name}")


def remove_tree(path: WorkPath) -> None:
    """Removes a directory if it exists."""
    if isinstance(path, epath.Path):
        path.rmtree(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def move_tree(path: WorkPath, target: WorkPath) -> None:
    """Moves a directory to a path that does not exist; in a bucket, object by object within the bucket."""
    if isinstance(path, epath.Path):
        store, name = filesystem(path)
        store.mv(name, filesystem(target)[1], recursive=True)
    else:
        path.rename(target)


def copy_tree(path: WorkPath, target: Path) -> None:
    """Copies a directory, if it exists, to a local path that does not exist."""
    if not path.is_dir():
        return
    if isinstance(path, epath.Path):
        for name in files_below(path):
            fetch_file(path / name, target / name)
    else:
        shutil.copytree(path, target)


def files_below(path: epath.Path) -> list[str]:
    """Returns the names of all objects below a path in a bucket, relative to it."""
    store, root = filesystem(path)
    return [name.removeprefix(f"{root}/") for name in store.find(root)]


def fetch_file(source: epath.Path, target: Path) -> None:
    """Copies an object to a local file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    store, name = filesystem(source)
    store.get_file(name, str(target))


def send_file(source: Path, target: epath.Path) -> None:
    """Copies a local file to an object, atomically: readers see the old object or the new one."""
    store, name = filesystem(target)
    store.put_file(str(source), name)


def write_object(path: epath.Path, text: str) -> None:
    """Writes an object in one request.

    A gcsfs file whose write failed raises again when it is garbage-collected, which Python 3.13 prints.
    """
    store, name = filesystem(path)
    store.pipe_file(name, text.encode())


def filesystem(path: WorkPath) -> tuple[Any, str]:
    """Returns the fsspec file system of a path in a bucket, and the path's name in it."""
    import fsspec

    return fsspec.core.url_to_fs(os.fspath(path))


def _prepare(text: str) -> None:
    try:
        importlib.import_module("gcsfs")
    except ImportError as error:
        raise UserError(
            f"--workdir {text} needs the package gcsfs ({error}). Install it: pip install -e '.[gcs]', or give a "
            "directory on a local disk"
        ) from error
    from fsspec.config import conf

    # epath would prefer TensorFlow if it is installed, which is slow to import and has its own credentials settings.
    os.environ["EPATH_USE_TF"] = "false"
    # A cached listing misses objects that other hosts and TensorStore have written since.
    for protocol in ("gs", "gcs"):
        conf.setdefault(protocol, {})["use_listings_cache"] = False


def fresh_path(path: WorkPath) -> WorkPath:
    """Returns a sibling that does not exist, to suggest as a new work directory: runs/x-2."""
    number = 2
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")
