"""Checks of storage: the work directory, shared memory, the cache."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from tpu.machine import Finding, Machine, failure, not_applicable, ok, warning

# BERT-base: three training states of 1.3 GB (parameters and two moments in float32) and the model of 0.4 GB.
_WORKDIR_BYTES = 5 * 10**9
# Docker's default of 64 MiB is too little for data workers, which pass batches through shared memory.
_SHARED_MEMORY_BYTES = 256 * 2**20
# For 5 GB of text, at the measured 0.38 bytes per byte of text (docs/data.md).
_CACHE_BYTES = 2 * 10**9
_BUCKET_SECONDS = 60
_LOCAL_FILE_SYSTEMS = {"btrfs", "ext2", "ext3", "ext4", "overlay", "tmpfs", "xfs"}
_WRITE_TO_BUCKET = """
import sys, gcsfs
bucket = gcsfs.GCSFileSystem()
bucket.pipe(sys.argv[1], b"doctor")
bucket.rm(sys.argv[1])
"""


def workdir(machine: Machine) -> Finding:
    """Checks that the work directory can be written and has room."""
    given = machine.options.workdir
    if given is None:
        return not_applicable("no --workdir")
    if given.startswith("gs://"):
        return _bucket(machine, given.rstrip("/"))
    found = _directory(Path(given), _WORKDIR_BYTES, "give another --workdir")
    kind = _file_system(machine, Path(given))
    if found.status == "ok" and machine.processes > 1 and kind in _LOCAL_FILE_SYSTEMS:
        return warning(
            f"{given} is on this worker's disk ({kind}), where the other {machine.processes - 1} processes cannot read "
            "the checkpoints that process 0 writes",
            "give a directory on gs:// or on a disk that all workers mount",
        )
    return found


def shared_memory(machine: Machine) -> Finding:
    """Checks that /dev/shm has room for the batches of data workers."""
    path = machine.root / "dev" / "shm"
    if not path.is_dir():
        return not_applicable("no /dev/shm")
    usage = shutil.disk_usage(path)
    if usage.free < _SHARED_MEMORY_BYTES:
        return warning(
            f"/dev/shm has {usage.free / 2**20:.0f} MiB free of {usage.total / 2**20:.0f}",
            "docker run --shm-size=1g, remove files left over there, or set data.workers to 0",
        )
    return ok(f"/dev/shm has {usage.free / 2**30:.1f} GiB free")


def cache(_: Machine) -> Finding:
    """Checks that the cache of tokenized corpora can be written and has room."""
    from train.machine.files import default_cache_dir

    return _directory(default_cache_dir(), _CACHE_BYTES, "set FLAX_LITE_CACHE or data.cache_dir to another directory")


def _directory(path: Path, wanted_bytes: int, cure: str) -> Finding:
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        # Writes a real file, because permission bits do not show a full quota and do not apply to root.
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".doctor-") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return failure(f"{path} cannot be written: {error.strerror}", cure)
    free = shutil.disk_usage(existing).free
    if free < wanted_bytes:
        return warning(
            f"{path} has {free / 1e9:.1f} GB free, {wanted_bytes / 1e9:.0f} GB may be needed", f"make room, or {cure}"
        )
    return ok(f"{path} can be written, {free / 1e9:.0f} GB free")


def _file_system(machine: Machine, path: Path) -> str:
    """Returns the type of a path's file system, from the longest mount point above it."""
    table = machine.root / "proc" / "mounts"
    if not table.exists():
        return ""
    mounts = (line.split() for line in table.read_text().splitlines())
    above = [(point, kind) for _, point, kind, *_ in mounts if path.absolute().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]


def _bucket(machine: Machine, url: str) -> Finding:
    """Writes and removes a small object, with gcsfs or else gcloud."""
    target = f"{url}/.doctor-{uuid.uuid4().hex}"
    if importlib.util.find_spec("gcsfs"):
        commands = [[sys.executable, "-c", _WRITE_TO_BUCKET, target]]
    elif gcloud := shutil.which("gcloud", path=machine.environ.get("PATH")):
        commands = [[gcloud, "storage", "cp", os.devnull, target], [gcloud, "storage", "rm", target]]
    else:
        return warning(
            f"{url} was not checked: neither gcsfs nor gcloud is installed",
            "pip install --editable '.[gcs]', which a job needs too (tpu/setup.sh --workdir gs://... does this)",
        )
    for command in commands:
        try:
            subprocess.run(
                command, env=dict(machine.environ), capture_output=True, text=True, check=True, timeout=_BUCKET_SECONDS
            )
        except subprocess.TimeoutExpired:
            return failure(f"{url} does not answer in {_BUCKET_SECONDS} s", "check the network and the bucket's region")
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            return failure(
                f"{url} cannot be written: {reason}",
                "create the bucket, and give the VM's service account roles/storage.objectAdmin on it",
            )
    return ok(f"{url} can be written")
