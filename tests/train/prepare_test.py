"""Preparing a job's data from the command line, and the job that finds it."""

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

from tests.conftest import REPOSITORY
from tests.train.commands import Command, environment, series

CONFIG = "configs/albert_base.py:smoke"  # that of the finished run of train.pretrain


def command(cache, *overrides):
    return Command("prepare", CONFIG, (f"data.cache_dir={cache}", *overrides))


@pytest.fixture(scope="session")
def prepared(finish, shared_temp):
    """A cache that the command has filled, and its output."""
    cache = shared_temp / "once" / "prepared" / "cache"
    return cache, finish("prepared", command(cache)).printed


def copied(cache, target):
    """Copies the cache to a path where a test may change it."""
    return Path(shutil.copytree(cache, target))


@pytest.mark.compat
def test_prepare_prints_data_and_directories(prepared):
    cache, printed = prepared
    lines = re.findall(r"^(training|held-out) data: .* tokens; \d+ shards?, [\d.]+ MB in (.+)$", printed, re.MULTILINE)
    assert [name for name, _ in lines] == ["training", "held-out"]
    for _, directory in lines:
        assert Path(directory).parent == cache / "tokens"
        assert json.loads((Path(directory) / "manifest.json").read_text())["counts"]["tokens"] > 1000
    assert re.search(r"^tokenizer: unigram, \d+ pieces", printed, re.MULTILINE)


def test_prepare_again_finds_everything_and_writes_no_work_directory(prepared, tmp_path, capsys):
    cache, first = prepared

    def times():
        return {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}

    before = times()
    assert command(cache).main(tmp_path / "work") == 0
    # The tokenizer and both splits, without lines about preparing them.
    lines = capsys.readouterr().out.splitlines()
    # Another test process may be opening the same tokens.
    assert [line for line in lines if not line.startswith("Waiting for another process")] == first.splitlines()[-3:]
    assert times() == before
    assert not (tmp_path / "work").exists()


def test_prepare_takes_a_config_of_distillation(teacher, tmp_path, capsys):
    overrides = (f"teacher={teacher}", "tokenizer=none")
    assert Command("prepare", "configs/distilbert_tiny.py:smoke", overrides).main(tmp_path / "work") == 0
    assert "tokenizer: wordpiece" in capsys.readouterr().out


def test_job_takes_what_was_prepared_and_keeps_its_tokenizer(prepared, finished_pretrain, tmp_path, capsys):
    """Its metrics are those of the run that prepared its own data."""
    cache, _ = prepared
    assert finished_pretrain.command.main(tmp_path / "w", f"data.cache_dir={cache}", "plot=false") == 0
    printed = capsys.readouterr().out
    assert "okenising" not in printed
    assert "Training a" not in printed
    (kept,) = [path for path in (cache / "tokenizers").iterdir() if path.is_dir()]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "w" / "tokenizer" / name).read_bytes() == (kept / name).read_bytes()
    assert series(tmp_path / "w") == series(finished_pretrain.workdir)


def test_job_names_a_damaged_record(prepared, finished_pretrain, tmp_path, capsys):
    """One message names file and record, in the job or in a worker, and no step sees wrong tokens.

    With the directory removed, as the message says, the same text is prepared again.
    """
    cache, workdir = copied(prepared[0], tmp_path / "cache"), tmp_path / "work"
    name = Path(re.search(r"^training data: .* in (.+)$", prepared[1], re.MULTILINE)[1]).name
    directory = cache / "tokens" / name
    shard = directory / "shard-00000.array_record"
    intact = shard.read_bytes()
    data = bytearray(intact)
    data[110] ^= 1  # after the headers of file and record, 64 and 40 bytes
    shard.write_bytes(data)
    for workers in (0, 2):
        changes = (f"data.cache_dir={cache}", f"data.workers={workers}", "plot=false")
        assert finished_pretrain.command.main(workdir, *changes) == 1
        error = capsys.readouterr().err
        assert "Traceback" not in error
        assert f"{shard}, record 0: " in error
        assert f"remove {directory}" in error
    shutil.rmtree(directory)
    assert command(cache).main(workdir) == 0
    assert shard.read_bytes() == intact


def test_prepare_interrupted_exits_75_and_leaves_no_process(tmp_path):
    """As for a preempted machine or Ctrl-C, the signal goes to the whole process group, workers included."""
    arguments = command(tmp_path / "cache", "data.builtin_documents=60000", "data.prepare_workers=2").arguments(
        tmp_path / "w"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "train.prepare", *arguments],
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert any("Tokenizing" in line for line in process.stdout)
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
    pytest.fail("a process of the group is still running")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.source=text:nowhere/*.txt", ["nowhere/*.txt"]),
        ("data.cache_dir=/dev/null/cache", ["/dev/null/cache", "data.cache_dir"]),
        ("data.prepare_workers=0", ["at least 1"]),
    ],
)
def test_prepare_explains_a_mistake(tmp_path, capsys, override, parts):
    assert command(tmp_path, override).main(tmp_path / "work") == 2
    error = capsys.readouterr().err
    assert error.startswith("prepare: ")
    assert "Traceback" not in error
    for part in parts:
        assert part in error
