"""The profiled window of steps and its trace."""

import jax
import jax.numpy as jnp
import pytest

from tests.train.run.traces import traced_steps
from train.errors import UserError
from train.run.metrics import Clock
from train.run.profiling import Profiler, check_window


@jax.jit
def doubled(x):
    return 2 * x


@pytest.fixture
def lines():
    return []


@pytest.fixture
def train(tmp_path, lines):
    """Takes steps with a profiler and closes it."""

    def train(first_step, num_steps, steps, done=0):
        profiler = Profiler(
            first_step, num_steps, tmp_path / "profile", tmp_path / "shown", done, Clock(), lines.append
        )
        x = jnp.ones(3)
        for step in steps:
            x = profiler.step(step, doubled, x)
        profiler.close()
        profiler.close()
        return float(x[0])

    return train


def test_the_steps_of_the_window_are_traced(tmp_path, train, lines):
    assert train(3, 2, range(1, 8)) == 2.0**7
    assert traced_steps(tmp_path / "profile") == [[3, 4]]
    assert list((tmp_path / "profile").glob("plugins/profile/*/perfetto_trace.json.gz"))
    (line,) = lines
    assert line.startswith(f"profile of steps 3 to 4: {tmp_path / 'shown'}")
    assert "xprof" in line
    assert "perfetto" in line


def test_python_calls_are_not_traced(train, monkeypatch):
    """Their hooks crash JAX if a C++ thread ends meanwhile: about one in 600 runs of the toy."""
    levels, start = [], jax.profiler.start_trace
    monkeypatch.setattr(
        jax.profiler,
        "start_trace",
        lambda *args, **options: (
            levels.append(options["profiler_options"].python_tracer_level),
            start(*args, **options),
        ),
    )
    train(1, 1, [1])
    assert levels == [0]


def test_without_a_first_step_nothing_is_traced(tmp_path, train, lines):
    assert train(None, 5, range(1, 4)) == 8.0
    assert lines == []
    assert not (tmp_path / "profile").exists()


def test_a_run_that_ends_in_the_window_writes_its_trace(tmp_path, train, lines):
    train(3, 100, range(1, 5))
    assert traced_steps(tmp_path / "profile") == [[3, 4]]
    assert lines[0].startswith("profile of steps 3 to 4: ")


def test_the_rest_of_a_partly_done_window_is_traced(tmp_path, train):
    train(3, 4, range(5, 9), done=4)
    assert traced_steps(tmp_path / "profile") == [[5, 6]]


def test_a_window_before_the_first_step_is_reported(tmp_path, train, lines):
    assert train(3, 4, range(7, 9), done=6) == 4.0
    assert lines == ["no profile: steps 3 to 6 were done by an earlier run, which got to step 6"]
    assert not (tmp_path / "profile").exists()


class Pending:
    """An output that the devices are still computing."""

    def __init__(self, ended):
        self.ended = ended

    def block_until_ready(self):
        self.ended.append("step")


def test_the_last_step_is_complete_before_the_trace_is_closed(tmp_path, monkeypatch, lines):
    """Dispatch is asynchronous: the computation ends after the call returns."""
    ended, stop = [], jax.profiler.stop_trace
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: (ended.append("trace"), stop()))
    clock = Clock()
    profiler = Profiler(1, 2, tmp_path, tmp_path, 0, clock, lines.append)
    for number in (1, 2):
        profiler.step(number, lambda: {"loss": Pending(ended)})
    assert ended == ["step", "trace"]
    assert clock.read()["profile"] > 0


def test_a_trace_that_cannot_start_does_not_fail_the_run(tmp_path, train, lines):
    """JAX allows one trace at a time, and the user may have started another."""
    with jax.profiler.trace(tmp_path / "other"):
        assert train(2, 2, range(1, 5)) == 16.0
    (line,) = lines
    assert line.startswith("no profile: ")


def test_a_trace_that_cannot_be_written_does_not_fail_the_run(tmp_path, train, lines):
    (tmp_path / "profile").write_text("in the way")
    assert train(2, 2, range(1, 5)) == 16.0
    (line,) = lines
    assert line.startswith("the profile of steps 2 to 3 could not be written: ")
    jax._src.profiler._profile_state.reset()  # JAX keeps the failed trace and would refuse others in this process


def test_a_window_after_the_last_step_is_refused():
    check_window(None, 10)
    check_window(10, 10)
    with pytest.raises(UserError, match="is past the last step: give at most total_steps=10"):
        check_window(11, 10)
