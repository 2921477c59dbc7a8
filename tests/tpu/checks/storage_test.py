"""Checks of storage: each fault is simulated and has to be reported."""

import collections
import subprocess

import pytest

from tpu.checks import storage

Usage = collections.namedtuple("Usage", ["total", "used", "free"])
GCLOUD = """#!/bin/sh
echo "$@" >>"{log}"
{act}
"""


@pytest.fixture
def disk(monkeypatch):
    def room(free):
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: Usage(free, 0, free))

    room(10**12)
    return room


@pytest.mark.usefixtures("disk")
def test_workdir_that_exists_or_can_be_created_is_ok(machines):
    path = machines.folder / "runs" / "albert"
    assert storage.workdir(machines.make(workdir=str(path))).status == "ok"
    assert not path.exists()
    path.mkdir(parents=True)
    assert storage.workdir(machines.make(workdir=str(path))).status == "ok"
    assert list(path.iterdir()) == []
    assert storage.workdir(machines.make()).status == "not applicable"


@pytest.mark.usefixtures("disk")
def test_workdir_that_cannot_be_written_is_a_failure(machines):
    (machines.folder / "file").touch()
    found = storage.workdir(machines.make(workdir=str(machines.folder / "file")))
    assert found.status == "failure"
    assert "cannot be written: Not a directory" in found.message


def test_workdir_without_room_is_a_warning(machines, disk):
    disk(10**9)
    found = storage.workdir(machines.make(workdir=str(machines.folder)))
    assert found.status == "warning"
    assert "1.0 GB free, 5 GB may be needed" in found.message


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize(("kind", "status"), [("ext4", "warning"), ("nfs4", "ok")])
def test_workdir_of_several_workers_has_to_be_shared(machines, kind, status):
    mounts = f"/dev/sda1 / btrfs rw 0 0\nhost:/x {machines.folder} {kind} rw 0 0\n"
    (machines.folder / "proc" / "mounts").write_text(mounts)
    found = storage.workdir(machines.make(workdir=str(machines.folder / "w"), num_processes=4))
    assert found.status == status
    assert storage.workdir(machines.make(workdir=str(machines.folder / "w"))).status == "ok"


@pytest.fixture
def gcloud(machines, monkeypatch):
    """Returns a function that installs a fake gcloud with the given action and returns a machine with it."""
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)

    def put(act):
        path = machines.folder / "gcloud"
        path.write_text(GCLOUD.format(log=machines.folder / "log", act=act))
        path.chmod(0o755)
        return machines.make(workdir="gs://bucket/run/", environ={"PATH": f"{machines.folder}:/usr/bin:/bin"})

    return put


def test_workdir_in_a_bucket_is_written_with_gcloud(machines, gcloud):
    found = storage.workdir(gcloud("exit 0"))
    assert found.status == "ok"
    copied, removed = (machines.folder / "log").read_text().splitlines()
    assert copied.startswith("storage cp /dev/null gs://bucket/run/.doctor-")
    assert removed == copied.replace("cp /dev/null", "rm")


def test_workdir_in_a_bucket_that_refuses_is_a_failure(gcloud):
    found = storage.workdir(gcloud('echo "HTTPError 403: no storage.objects.create" >&2; exit 1'))
    assert found.status == "failure"
    assert "gs://bucket/run cannot be written: HTTPError 403" in found.message
    assert "objectAdmin" in found.cure


def test_workdir_in_a_bucket_that_hangs_is_a_failure(gcloud, monkeypatch):
    monkeypatch.setattr(storage, "_BUCKET_SECONDS", 0.2)
    found = storage.workdir(gcloud("exec sleep 60"))
    assert found.status == "failure"
    assert "does not answer" in found.message


def test_workdir_in_a_bucket_without_gcsfs_and_gcloud_is_a_warning(machines, monkeypatch):
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)
    found = storage.workdir(machines.make(workdir="gs://bucket/run"))
    assert found.status == "warning"
    assert "neither gcsfs nor gcloud is installed" in found.message
    assert ".[gcs]" in found.cure


def test_workdir_in_a_bucket_is_written_with_gcsfs_if_installed(machines, monkeypatch):
    commands = []
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: name == "gcsfs" or None)
    monkeypatch.setattr(storage.subprocess, "run", lambda command, **more: commands.append(command))
    assert storage.workdir(machines.make(workdir="gs://bucket/run")).status == "ok"
    ((_, option, program, target),) = commands
    assert option == "-c"
    assert "gcsfs" in program
    assert target.startswith("gs://bucket/run/.doctor-")
    compile(program, "program", "exec")


def test_shared_memory_of_a_container_is_a_warning(machines, disk):
    assert storage.shared_memory(machines.make()).status == "not applicable"
    (machines.folder / "dev" / "shm").mkdir()
    assert storage.shared_memory(machines.make()).status == "ok"
    disk(64 * 2**20)
    found = storage.shared_memory(machines.make())
    assert found.status == "warning"
    assert "64 MiB free" in found.message
    assert "--shm-size" in found.cure


def test_cache_is_that_of_the_jobs(machines, disk, monkeypatch):
    monkeypatch.setenv("FLAX_LITE_CACHE", str(machines.folder / "cache"))
    assert str(machines.folder / "cache") in storage.cache(machines.make()).message
    disk(10**8)
    assert storage.cache(machines.make()).status == "warning"
    (machines.folder / "cache").touch()
    found = storage.cache(machines.make())
    assert found.status == "failure"
    assert "FLAX_LITE_CACHE" in found.cure


def test_bucket_commands_have_a_time_limit(machines, monkeypatch):
    given = []

    def run(command, **more):
        given.append(more["timeout"])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(storage.subprocess, "run", run)
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: True)
    storage.workdir(machines.make(workdir="gs://bucket"))
    assert given == [storage._BUCKET_SECONDS]
