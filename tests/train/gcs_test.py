"""A work directory in a bucket: the toy job with a stand-in for the store, over HTTP."""

import io
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.train import fake_gcs, toy

PREFIX = "runs/work"
WORK = f"gs://{fake_gcs.BUCKET}/{PREFIX}"
pytest.importorskip("gcsfs")


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture
def bucket():
    with fake_gcs.running() as server:
        yield server


def launch(bucket, config, *overrides, workdir=WORK, code=None):
    command = [sys.executable, *(["-c", code] if code else ["-m", "tests.train.toy"])]
    command += ["--config", str(config), "--workdir", workdir, *(f"--config.{item}" for item in overrides)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **bucket.environment()}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def run(bucket, config, *overrides, **kwargs):
    return end(launch(bucket, config, *overrides, **kwargs))


def read_json(bucket, name):
    return json.loads(bucket.read(f"{PREFIX}/{name}"))


def outcome(bucket):
    """All that must not depend on interruptions: every row, and every bit of the model."""
    rows = [json.loads(line) for line in bucket.read(f"{PREFIX}/metrics.jsonl").splitlines()]
    series = [(row["step"], row["split"], row["loss"], row.get("grad_norm")) for row in rows]
    with np.load(io.BytesIO(bucket.read(f"{PREFIX}/model/weights.npz"))) as weights:
        return series, {name: weights[name].tobytes() for name in weights}


def steps(bucket):
    """The steps that have a complete checkpoint."""
    found = (re.fullmatch(rf"{PREFIX}/checkpoints/(\d+)/commit_success.txt", name) for name in bucket.names())
    return sorted(int(match[1]) for match in found if match)


def wait_for_checkpoint(bucket, process, step):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(found >= step for found in steps(bucket)):
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"the job does not get on: {end(process)}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run that nothing disturbed, and what it left."""
    config = toy.write_config(tmp_path_factory.mktemp("whole"))
    with fake_gcs.running() as bucket:
        status, output, errors = run(bucket, config)
        assert status == 0, errors
        yield bucket, output


def test_a_run_leaves_in_the_bucket_what_it_leaves_on_a_disk(whole):
    bucket, output = whole
    names = {name.removeprefix(f"{PREFIX}/") for name in bucket.names()}
    assert all(name.startswith(f"{PREFIX}/") for name in bucket.names())
    assert {name for name in names if not name.startswith("checkpoints/")} == {
        "config.json",
        "lock",
        "metrics.jsonl",
        "model/weights.npz",
        "summary.json",
    }
    assert steps(bucket) == [16, 20]
    assert {name.split("/")[1] for name in names if name.startswith("checkpoints/")} == {"16", "20"}
    assert read_json(bucket, "summary.json")["status"] == "finished"
    assert f"model of step 20: {WORK}/model" in output
    assert "/tmp/" not in output, "the local copy is nobody's business"
