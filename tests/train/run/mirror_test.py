"""The local copy of a work directory in a bucket, with a fake server."""

import gc
import importlib.util
import json
import os

import pytest

from tests.train import fake_gcs
from train.errors import RunError, UserError
from train.machine.paths import work_path
from train.run.mirror import Mirror, names_in

pytestmark = pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="needs gcsfs")


@pytest.fixture(scope="module")
def server():
    """One server for all tests, because gcsfs keeps the first address that it reads."""
    former = dict(os.environ)
    with fake_gcs.running() as server:
        os.environ.update(server.environment())
        yield server
    os.environ.clear()
    os.environ.update(former)


@pytest.fixture
def bucket(server):
    server.objects.clear()
    server.written.clear()
    server.refused = lambda method, name: False
    return server


@pytest.fixture
def remote(bucket):
    return work_path("gs://bucket/runs/x")


@pytest.fixture
def mirror(remote, tmp_path):
    return Mirror(remote, tmp_path)


def written(bucket):
    """Returns the names of objects written since the last call, in order."""
    names = [name.removeprefix("runs/x/") for name in bucket.written]
    bucket.written.clear()
    return names


def test_only_changed_files_are_sent_and_the_summary_last(mirror, bucket, tmp_path):
    assert written(bucket) == ["lock"]
    for name in ("summary.json", "config.json", "metrics.jsonl", "tokenizer/vocab.txt", "zebra.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    mirror.publish()
    assert written(bucket) == ["config.json", "metrics.jsonl", "tokenizer/vocab.txt", "zebra.png", "summary.json"]
    assert bucket.read("runs/x/tokenizer/vocab.txt") == b"tokenizer/vocab.txt"
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write("more")
    (tmp_path / "zebra.png").unlink()
    mirror.publish()
    assert written(bucket) == ["metrics.jsonl"]
    assert bucket.read("runs/x/metrics.jsonl") == b"metrics.jsonlmore"
    assert "runs/x/zebra.png" not in bucket.names()
    mirror.publish()
    assert written(bucket) == []


def test_a_later_run_fetches_the_records_and_replaces_what_it_rewrites(mirror, bucket, remote, tmp_path):
    present = {
        "config.json": b"{}",
        "summary.json": json.dumps({"step": 3}).encode(),
        "metrics.jsonl": b"x" * 10,
        "tokenizer/vocab.txt": b"v",
        "model/old.bin": b"o",
        "model/kept.bin": b"k",
        "plot.png": b"p",
        "tensorboard/events.1": b"t",
        "checkpoints/4/state/d/1": b"c",
    }
    for name, content in present.items():
        bucket.write(f"runs/x/{name}", content)
    mirror.fetch()
    fetched = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert fetched == {"config.json", "summary.json", "metrics.jsonl", "tokenizer/vocab.txt"}
    written(bucket)
    mirror.publish()
    assert written(bucket) == [], "nothing has changed"
    for name in ("model/kept.bin", "tensorboard/events.2", ".model.new-0123abcd/half.bin"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"new")
    (tmp_path / "tokenizer" / "vocab.txt").unlink()
    mirror.publish()
    removed = {"model/old.bin", "tokenizer/vocab.txt"}
    left = {name.removeprefix("runs/x/") for name in bucket.names()}
    assert left == (set(present) - removed) | {"tensorboard/events.2", "lock"}
    assert bucket.read("runs/x/model/kept.bin") == b"new"
    assert names_in(remote) == {name.split("/")[0] for name in left}


def test_nothing_is_written_after_a_takeover(mirror, bucket, remote, tmp_path):
    (tmp_path / "config.json").write_text("first")
    mirror.publish()
    second = Mirror(remote, tmp_path / "second")
    assert second.is_ours()
    assert not mirror.is_ours()
    bucket.write("runs/x/config.json", b"second")
    (tmp_path / "config.json").write_text("first again")
    with pytest.raises(RunError, match=r"another process \(.*\) has taken over the work directory gs://"):
        mirror.publish()
    mirror.publish()  # raises only once
    assert bucket.read("runs/x/config.json") == b"second"


def test_a_bucket_that_cannot_be_written_is_a_clean_error(mirror, bucket, remote, tmp_path):
    bucket.refused = lambda method, name: method == "PUT"
    (tmp_path / "config.json").write_text("x")
    with pytest.raises(RunError, match="gs://bucket/runs/x could not be written"):
        mirror.publish()
    with pytest.raises(UserError, match="--workdir gs://bucket/runs/x cannot be used"):
        Mirror(remote, tmp_path)
    gc.collect()  # emits warnings about unclosed resources, which are errors here
