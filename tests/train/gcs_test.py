"""A work directory in a bucket: the toy job with a fake server."""

import importlib.util
import io
import json
import re
import signal
import sys
import tempfile
import threading
import time
import zipfile

import numpy as np
import pytest

from tests.train import fake_gcs, toy
from tests.train.machine.hosts_test import Fleet
from tests.train.run import runs
from train.errors import UserError
from train.machine.paths import work_path

PREFIX = "runs/work"
WORK = f"gs://{fake_gcs.BUCKET}/{PREFIX}"
STEPS = "total_steps=12"  # three saves with a hundred requests each
pytestmark = pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="needs gcsfs")


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture
def bucket():
    with fake_gcs.running() as server:
        yield server


def launch(bucket, config, *overrides, workdir=WORK):
    bucket.clients.append(runs.launch(config, workdir, STEPS, *overrides, environment=bucket.environment()))
    return bucket.clients[-1]


def run(bucket, config, *overrides, **kwargs):
    return launch(bucket, config, *overrides, **kwargs).end()


def read_json(bucket, name):
    return json.loads(bucket.read(f"{PREFIX}/{name}"))


def outcome(bucket):
    """Returns all that must not depend on interruptions: every row and every bit of the model."""
    rows = [json.loads(line) for line in bucket.read(f"{PREFIX}/metrics.jsonl").splitlines()]
    series = [(row["step"], row["split"], row["loss"], row.get("grad_norm")) for row in rows]
    with np.load(io.BytesIO(bucket.read(f"{PREFIX}/model/weights.npz"))) as weights:
        return series, {name: weights[name].tobytes() for name in weights}


def steps(bucket):
    """Returns the steps with a complete checkpoint."""
    found = (re.fullmatch(rf"{PREFIX}/checkpoints/(\d+)/commit_success.txt", name) for name in bucket.names())
    return sorted(int(match[1]) for match in found if match)


def wait_for_checkpoint(bucket, process, step):
    deadline = time.monotonic() + 240
    while not any(found >= step for found in steps(bucket)):
        assert time.monotonic() < deadline, "the job makes no progress"
        assert process.poll(0.01) is None, process.errors


@pytest.fixture(scope="module")
def uninterrupted(once):
    """The bucket after an uninterrupted run, and the output of the run."""

    def make(folder):
        with fake_gcs.running() as bucket:
            status, output, errors = run(bucket, toy.write_config(folder))
            assert status == 0, errors
            with zipfile.ZipFile(folder / "bucket.zip", "w") as archive:
                for name in bucket.names():
                    archive.writestr(name, bucket.read(name))
        (folder / "output").write_text(output)

    folder = once("gcs-uninterrupted", make)
    bucket = fake_gcs.Server()
    with zipfile.ZipFile(folder / "bucket.zip") as archive:
        for name in archive.namelist():
            bucket.write(name, archive.read(name))
    bucket.server_close()  # only its objects are read
    return bucket, (folder / "output").read_text()


def test_a_run_writes_the_same_files_as_on_a_disk(uninterrupted):
    bucket, output = uninterrupted
    names = {name.removeprefix(f"{PREFIX}/") for name in bucket.names()}
    assert all(name.startswith(f"{PREFIX}/") for name in bucket.names())
    assert {name for name in names if not name.startswith("checkpoints/")} == {
        "config.json",
        "lock",
        "metrics.jsonl",
        "model/weights.npz",
        "summary.json",
    }
    assert steps(bucket) == [8, 12]
    assert {name.split("/")[1] for name in names if name.startswith("checkpoints/")} == {"8", "12"}
    assert read_json(bucket, "summary.json")["status"] == "finished"
    assert f"model of step 12: {WORK}/model" in output
    assert tempfile.gettempdir() + "/flax_lite-" not in re.sub("compilation cache.*", "", output)


def test_a_finished_job_is_reported_and_not_run_again(bucket, config, uninterrupted):
    for name in uninterrupted[0].names():
        bucket.write(name, uninterrupted[0].read(name))
    before = {name: bucket.read(name) for name in bucket.names() if name.split("/")[-1] not in ("lock", "config.json")}
    status, output, errors = run(bucket, config)
    assert status == 0, errors
    assert output == f"{WORK} is complete: 12 steps, the model is in {WORK}/model\n"
    assert {name: bucket.read(name) for name in before} == before


def test_a_killed_and_stopped_run_equals_an_uninterrupted_one(bucket, config, uninterrupted):
    first = launch(bucket, config, "data.delay_seconds=0.2")
    wait_for_checkpoint(bucket, first, 4)
    first.kill()
    first.end()
    second = launch(bucket, config, "data.delay_seconds=0.5")
    wait_for_checkpoint(bucket, second, 8)
    second.send_signal(signal.SIGTERM)
    status, output, errors = second.end()
    assert status == 75, errors
    assert "continuing from the checkpoint of step" in output
    assert f"is saved in {WORK}." in errors
    assert f"--workdir {WORK}" in errors
    saved = read_json(bucket, "summary.json")
    assert saved["status"] == "interrupted"
    assert saved["step"] in steps(bucket)
    assert f"{PREFIX}/model/weights.npz" not in bucket.names()
    status, output, errors = run(bucket, config)
    assert status == 0, errors
    assert f"continuing from the checkpoint of step {saved['step']}" in output
    assert outcome(bucket) == outcome(uninterrupted[0])
    assert len(read_json(bucket, "summary.json")["runs"]) == 3


def test_the_newest_start_takes_over(bucket, config, uninterrupted):
    """The first process stops before its next save and writes nothing more."""
    first = launch(bucket, config, "data.delay_seconds=2")
    wait_for_checkpoint(bucket, first, 4)
    status, output, errors = run(bucket, config)
    assert status == 0, errors
    left = {name: bucket.read(name) for name in bucket.names()}
    status, output, errors = first.end()
    assert status == 1
    assert re.search(rf"another process \(process \d+ on .*\) has taken over the work directory {WORK}; this", errors)
    assert "Traceback" not in errors
    assert "also failed while ending the run" not in output
    assert {name: bucket.read(name) for name in bucket.names()} == left
    assert outcome(bucket) == outcome(uninterrupted[0])


@pytest.mark.parametrize(
    "held",
    [
        {"state/manifest.ocdbt": "second began"},
        # Slow: two more processes. The third case also writes its marker last.
        pytest.param({"commit_success.txt": "second ended"}, marks=pytest.mark.slow),
        {"state/manifest.ocdbt": "second began", "commit_success.txt": "second ended"},
    ],
    ids=["completed after the second removed a part", "only a marker", "incomplete when the second saves"],
)
def test_a_save_in_progress_at_a_takeover_is_harmless(bucket, config, uninterrupted, held):
    """The first process hangs while it writes its second checkpoint, and continues while the second process runs."""
    checkpoint = f"{PREFIX}/checkpoints/8/"
    moments = {name: threading.Event() for name in ("first hangs", "second began", "second ended")}
    held = {checkpoint + file: moments[moment] for file, moment in held.items()}

    def hold(name):
        if moment := held.pop(name, None):
            moments["first hangs"].set()
            moment.wait(240)

    bucket.hold = hold
    first = launch(bucket, config, "data.delay_seconds=0.1")
    assert moments["first hangs"].wait(240)
    second = launch(bucket, config, "data.delay_seconds=0.3")
    deadline = time.monotonic() + 240
    while bucket.names(checkpoint) and time.monotonic() < deadline:
        time.sleep(0.005)
    moments["second began"].set()
    status, output, errors = second.end()
    moments["second ended"].set()
    assert status == 0, errors
    assert "checkpoint 8 was not finished: removed" in output
    status, _, errors = first.end()
    assert status == 1
    assert "has taken over the work directory" in errors
    assert outcome(bucket) == outcome(uninterrupted[0])
    assert {8, 12} <= set(steps(bucket))
    assert (read_json(bucket, "summary.json")["status"], read_json(bucket, "summary.json")["step"]) == ("finished", 12)


def test_a_corrupt_and_an_incomplete_checkpoint_only_cost_steps(bucket, config, uninterrupted):
    finished = uninterrupted[0]
    for name in finished.names():
        if "/model/" not in name and not name.endswith("/checkpoints/12/commit_success.txt"):
            bucket.write(name, finished.read(name))
    (data,) = bucket.names(f"{PREFIX}/checkpoints/12/state/d/")
    copy = {name.replace("/12/", "/10/"): bucket.read(name) for name in bucket.names(f"{PREFIX}/checkpoints/12/")}
    for name, content in {**copy, f"{PREFIX}/checkpoints/10/commit_success.txt": b""}.items():
        bucket.write(name, content[:20] if name == data.replace("/12/", "/10/") else content)
    status, output, errors = run(bucket, config)
    assert status == 0, errors
    assert "checkpoint 12 was not finished: removed" in output
    assert re.search(rf"checkpoint 10 is bad: .*; set aside as {WORK}/checkpoints.bad/10-", output)
    assert "continuing from the checkpoint of step 8" in output
    assert outcome(bucket) == outcome(finished)
    assert steps(bucket) == [8, 12]


def test_two_hosts_share_a_bucket(bucket, config):
    fleet = Fleet(config, WORK, 2, STEPS, "data.delay_seconds=0.3", environment=bucket.environment())
    wait_for_checkpoint(bucket, fleet.processes[0], 4)
    fleet.processes[1].send_signal(signal.SIGTERM)
    assert fleet.end() == [75, 75], fleet.errors
    fleet = Fleet(config, WORK, 2, STEPS, environment=bucket.environment())
    assert fleet.end() == [0, 0], fleet.errors
    assert "continuing from the checkpoint of step" in fleet.output[0]
    assert steps(bucket) == [8, 12]
    assert [row[0] for row in outcome(bucket)[0] if row[1] == "train"] == list(range(1, 13))


def test_a_missing_bucket_and_other_files_are_user_errors(bucket, config):
    bucket.write(f"{PREFIX}/thesis.tex", b"")
    missing, foreign = launch(bucket, config, workdir="gs://another/runs/work"), launch(bucket, config)
    status, _, errors = missing.end()
    assert status == 2
    assert "toy: --workdir gs://another/runs/work cannot be used: FileNotFoundError" in errors
    status, _, errors = foreign.end()
    assert status == 2
    assert f"--workdir {WORK} holds something else (thesis.tex)" in errors
    assert bucket.names() == [f"{PREFIX}/thesis.tex"]


def test_without_gcsfs_the_extra_is_named(monkeypatch, config, capsys):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert toy.main(["--config", "no/such/file.py", "--workdir", WORK]) == 2
    assert capsys.readouterr().err.startswith(f"toy: --workdir {WORK} needs the package gcsfs (")
    with pytest.raises(UserError, match=re.escape("pip install -e '.[gcs]'")):
        work_path(WORK)


@pytest.mark.parametrize("text", ["gs://", "gs://bucket", "gs://bucket/", "gs:///path"])
def test_a_bucket_without_a_path_is_refused(text):
    with pytest.raises(UserError, match="expected gs://BUCKET/PATH"):
        work_path(text)
