"""Worker processes: order of results, errors, and that none outlives its parent."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.train.data.pretraining.loader_test import alive
from train.machine.workers import num_cores, ordered_map

# Workers must be able to import the functions that they call.
_SCRIPT = """
import os, sys, time
from train.machine.workers import ordered_map

def begin():
    os.environ["BEGUN"] = "yes"

def slow(number):
    time.sleep(0.2 if number == 0 else 0)
    return number * number, os.environ["BEGUN"]

def endless(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

def killed(number):
    os.kill(os.getpid(), 9)

def one_killed(number):
    killed(number) if number else endless(number)

def items(taken):
    for number in range(10):
        taken.append(number)
        yield number

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "order":
        taken = []
        results = ordered_map(slow, items(taken), workers=2, initializer=begin)
        assert next(results) == (0, "yes")
        assert len(taken) == 4, taken
        assert [square for square, _ in results] == [number * number for number in range(1, 10)]
        print("ordered")
    elif what.endswith("killed"):
        try:
            list(ordered_map(globals()[what], range(3), workers=2, initializer=begin))
        except Exception as error:
            print(type(error).__name__, error)
    else:
        list(ordered_map(endless, range(2), workers=2, initializer=begin))
"""


@pytest.fixture
def script(tmp_path, repository):
    path = tmp_path / "work.py"
    path.write_text(_SCRIPT)
    return functools.partial(
        subprocess.Popen,
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ), [sys.executable, str(path)]


def _output(script, what):
    start, command = script
    with start([*command, what]) as process:
        return process.communicate(timeout=60)[0]


def test_results_are_in_order_and_items_are_consumed_as_needed(script):
    """The first item is the slowest; two items per worker are in flight."""
    assert _output(script, "order") == "ordered\n"


@pytest.mark.parametrize("what", ["killed", "one_killed"])
def test_a_killed_worker_is_an_error(script, what):
    """The error does not wait for another worker that is busy."""
    output = _output(script, what)
    assert "RunError a worker process was killed" in output
    assert "data.prepare_workers" in output


def test_workers_end_when_their_parent_is_killed(script):
    """A killed parent cannot end them; if they did not watch it, they would wait for work forever."""
    start, command = script
    with start([*command, "endless"]) as process:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while any(map(alive, workers)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(alive, workers))


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="invalid literal"):
        list(ordered_map(int, ["1", "one"], workers=1, initializer=os.getpid))


def test_num_cores_is_what_this_process_may_use():
    assert num_cores() == len(os.sched_getaffinity(0))
