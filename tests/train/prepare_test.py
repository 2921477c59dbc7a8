"""The command that prepares a job's data, as people run it, and the job that finds it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = "configs/albert_tiny.py:smoke"


def command(module, cache, *overrides, workdir=None):
    options = [f"--config.{override}" for override in (f"data.cache_dir={cache}", *overrides)]
    options += ["--workdir", str(workdir)] if workdir else []
    return [sys.executable, "-m", f"train.{module}", "--config", CONFIG, *options]


def run(repository, *arguments, **options):
    environment = {**os.environ, "XLA_FLAGS": ""}  # one device compiles faster than the tests' eight
    return subprocess.run(
        command(*arguments, **options), cwd=repository, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def prepared(repository, tmp_path_factory):
    cache = tmp_path_factory.mktemp("prepared")
    done = run(repository, "prepare", cache)
    assert done.returncode == 0, done.stderr
    return cache, done.stdout


def test_prepare_says_what_it_made_and_where(prepared):
    cache, printed = prepared
    lines = re.findall(r"^(training|held-out) data: .* tokens; \d+ shards?, [\d.]+ MB in (.+)$", printed, re.MULTILINE)
    assert [name for name, _ in lines] == ["training", "held-out"]
    for _, directory in lines:
        assert Path(directory).parent == cache / "tokens"
        assert json.loads((Path(directory) / "manifest.json").read_text())["counts"]["tokens"] > 1000
    assert re.search(r"^tokenizer: unigram, \d+ pieces", printed, re.MULTILINE)


def test_prepare_again_finds_everything(repository, prepared):
    cache, first = prepared
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    again = run(repository, "prepare", cache)
    assert again.stdout == "".join(
        line
        for line in first.splitlines(keepends=True)
        if "okenising" not in line and "okenised" not in line and "Training" not in line
    )
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}


def test_prepare_writes_no_work_directory(repository, prepared, tmp_path):
    assert run(repository, "prepare", prepared[0], workdir=tmp_path / "work").returncode == 0
    assert not (tmp_path / "work").exists()


def test_job_takes_what_was_prepared_and_keeps_its_tokenizer(repository, prepared, tmp_path):
    done = run(repository, "pretrain", prepared[0], "total_steps=2", "optimizer.warmup_steps=1", workdir=tmp_path / "w")
    assert done.returncode == 0, done.stderr
    assert "okenising" not in done.stdout
    assert "Training a" not in done.stdout
    (kept,) = [path for path in (prepared[0] / "tokenizers").iterdir() if path.is_dir()]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "w" / "tokenizer" / name).read_bytes() == (kept / name).read_bytes()


def test_job_names_a_damaged_record(repository, tmp_path):
    """Found where the record is read, in the job or in one of its workers: one message with file and record, and no
    step on wrong tokens. With the directory removed, as the message says, the same command runs."""
    cache, workdir = tmp_path / "cache", tmp_path / "work"
    printed = run(repository, "prepare", cache).stdout
    directory = Path(re.search(r"^training data: .* in (.+)$", printed, re.MULTILINE)[1])
    shard = directory / "shard-00000.array_record"
    data = bytearray(shard.read_bytes())
    data[110] ^= 1  # behind the headers of file and record, 64 and 40 bytes
    shard.write_bytes(data)
    arguments = ("pretrain", cache, "total_steps=2", "optimizer.warmup_steps=1")
    for workers in (0, 2):
        damaged = run(repository, *arguments, f"data.workers={workers}", workdir=workdir)
        assert damaged.returncode == 1, damaged.stderr
        assert "Traceback" not in damaged.stderr
        assert f"{shard}, record 0: " in damaged.stderr
        assert f"remove {directory}" in damaged.stderr
    shutil.rmtree(directory)
    again = run(repository, *arguments, workdir=workdir)
    assert again.returncode == 0, again.stderr


def test_prepare_interrupted_exits_75_and_leaves_no_process(repository, tmp_path):
    """As a preempted machine or Ctrl-C does it: the signal goes to the whole group, the workers too."""
    process = subprocess.Popen(
        command("prepare", tmp_path, "data.builtin_documents=60000", "data.prepare_workers=2"),
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert any("Tokenising" in line for line in process.stdout)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "the same command continues" in errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process of the group lives on")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.source=text:nowhere/*.txt", ["nowhere/*.txt"]),
        ("data.cache_dir=/dev/null/cache", ["/dev/null/cache", "data.cache_dir"]),
        ("data.prepare_workers=0", ["at least 1"]),
    ],
)
def test_prepare_explains_a_mistake(repository, tmp_path, override, parts):
    done = run(repository, "prepare", tmp_path, override)
    assert done.returncode == 2
    assert done.stderr.startswith("prepare: ")
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
