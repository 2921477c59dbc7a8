"""The protocol between a command and its workers."""

import os

import pytest

from benchmarks.harness import workers
from benchmarks.harness.workers import Worker, WorkerError

MODULE = "tests.benchmarks.harness.echo_worker"


@pytest.fixture(scope="module")
def worker():
    with Worker(MODULE, os.environ) as one:
        yield one


def test_a_worker_answers_beside_what_libraries_print(worker):
    assert worker.ask("echo", 60, a=1, b=["x"]) == {"a": 1, "b": ["x"]}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("not\nso", "ValueError: not"),
        ("memory is gone", "out of memory"),
        ("status RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes\nbuffers", "out of memory"),
    ],
)
def test_an_error_is_one_line_and_the_worker_continues(worker, message, expected):
    with pytest.raises(WorkerError) as caught:
        worker.ask("fail", 60, message=message)
    assert str(caught.value) == expected
    assert worker.ask("echo", 60) == {}


def test_a_request_can_be_sent_and_its_answer_received_later(worker):
    worker.send("sleep", seconds=0.2)
    assert not worker.has_answered
    assert worker.receive(60) == {}


def test_a_worker_that_dies_is_reported_with_its_last_line(tmp_path):
    with Worker(MODULE, os.environ, log=tmp_path / "log") as one:
        for _ in range(2):
            with pytest.raises(WorkerError, match=f"failed: SIGKILL, the last words; see {tmp_path}/log"):
                one.ask("die", 60)


def test_a_worker_that_takes_too_long_is_ended():
    assert workers.ask(MODULE, os.environ, "sleep", 0.1, seconds=60) == "not done after 0 s"


def test_a_module_that_does_not_start_is_reported():
    found = workers.ask("tests.benchmarks.harness.absent", os.environ, "echo", 60)
    assert "exit status 1" in str(found)
    assert "No module named" in str(found)
