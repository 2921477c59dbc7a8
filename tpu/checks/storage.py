"""Where things are written: the work directory, shared memory, the cache in the home."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from tpu.machine import Finding, Machine, failure, not_applicable, ok, warning

# BERT-base: three training states of 1.3 GB (parameters and two moments in float32) and the model in two formats.
_WORKDIR_BYTES = 5 * 10**9
# What Docker gives a container, 64 MiB, is too little for data workers, which hand over batches there.
_SHARED_MEMORY_BYTES = 256 * 2**20
# Of 5 GB of text, at the 0.38 bytes for each byte of text that docs/data.md has measured.
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
    """Whether the job can write where it is told to, and has room there."""
    given = machine.options.workdir
    if given is None:
        return not_applicable("no --workdir")
    if given.startswith("gs://"):
        return _bucket(machine, given.rstrip("/"))
    found = _directory(Path(given), _WORKDIR_BYTES, "give another --workdir")
    kind = _file_system(machine, Path(given))
    if found.status == "ok" and machine.processes > 1 and kind in _LOCAL_FILE_SYSTEMS:
        return warning(
            f"{given} is on this worker's own disk ({kind}), where the other {machine.processes - 1} processes do not "
            "see the checkpoints that process 0 writes",
            "give one on gs:// or on a disk that all have mounted",
        )
    return found


def shared_memory(machine: Machine) -> Finding:
    """Whether /dev/shm has room for the batches of data workers."""
    path = machine.root / "dev" / "shm"
    if not path.is_dir():
        return not_applicable("no /dev/shm")
    usage = shutil.disk_usage(path)
    if usage.free < _SHARED_MEMORY_BYTES:
        return warning(
            f"/dev/shm has {usage.free / 2**20:.0f} MiB free of {usage.total / 2**20:.0f}",
            "docker run --shm-size=1g, remove what is left over there, or set data.workers to 0",
        )
    return ok(f"/dev/shm has {usage.free / 2**30:.1f} GiB free")


def cache(_: Machine) -> Finding:
    """Whether the cache of tokenized corpora can be written and has room."""
    from train.machine.files import default_cache_dir

    return _directory(default_cache_dir(), _CACHE_BYTES, "set FLAX_LITE_CACHE or data.cache_dir to another place")


def _directory(path: Path, wanted_bytes: int, cure: str) -> Finding:
    there = path.absolute()
    while not there.exists():
        there = there.parent
    try:
        # A file that is really written: permission bits say nothing of a full quota or of a root user.
        with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return failure(f"{path} cannot be written: {error.strerror}", cure)
    free = shutil.disk_usage(there).free
    if free < wanted_bytes:
        return warning(
            f"{path} has {free / 1e9:.1f} GB free, {wanted_bytes / 1e9:.0f} GB may be needed", f"make room, or {cure}"
        )
    return ok(f"{path} can be written, {free / 1e9:.0f} GB free")


def _file_system(machine: Machine, path: Path) -> str:
    """The type of the file system a path is on, by the longest mount point above it."""
    table = machine.root / "proc" / "mounts"
    if not table.exists():
        return ""
    mounts = (line.split() for line in table.read_text().splitlines())
    above = [(point, kind) for _, point, kind, *_ in mounts if path.absolute().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]


def _bucket(machine: Machine, url: str) -> Finding:
    """Writes a small object and removes it, with what is installed for it."""
    target = f"{url}/.doctor-{uuid.uuid4().hex}"
    if importlib.util.find_spec("gcsfs"):
        commands = [[sys.executable, "-c", _WRITE_TO_BUCKET, target]]
    elif gcloud := shutil.which("gcloud", path=machine.environ.get("PATH")):
        commands = [[gcloud, "storage", "cp", os.devnull, target], [gcloud, "storage", "rm", target]]
    else:
        return warning(
            f"{url} was not looked at: neither gcsfs nor gcloud is installed",
            "pip install --editable '.[gcs]', which a job needs too (tpu/setup.sh --workdir gs://... does)",
        )
    for command in commands:
        try:
            subprocess.run(
                command, env=dict(machine.environ), capture_output=True, text=True, check=True, timeout=_BUCKET_SECONDS
            )
        except subprocess.TimeoutExpired:
            return failure(
                f"{url} does not answer in {_BUCKET_SECONDS} s", "look at the network and at the bucket's region"
            )
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            return failure(
                f"{url} cannot be written: {reason}",
                "create the bucket, and give the VM's service account roles/storage.objectAdmin on it",
            )
    return ok(f"{url} can be written")
