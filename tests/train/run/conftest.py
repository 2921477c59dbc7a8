"""The toy job, and finished runs that several tests read."""

import contextlib
import io
import shutil

import pytest

from tests.train import toy
from tests.train.run.runs import outcome, run, signal_at


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture
def start(tmp_path, config):
    def start(*overrides, name="work", **kwargs):
        return run(config, tmp_path / name, *overrides, **kwargs)

    return start


@pytest.fixture(scope="session")
def finished(once):
    """A read-only directory with the work directory and the output of an uninterrupted run."""

    def make(folder):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert run(toy.write_config(folder), folder / "work", "plot=true") == 0
        (folder / "output").write_text(output.getvalue())

    return once("toy-finished", make)


@pytest.fixture(scope="session")
def uninterrupted(finished):
    """The outcome of an uninterrupted run."""
    return outcome(finished / "work")


@pytest.fixture
def ten_steps(once, tmp_path):
    """The work directory of a finished run of ten steps."""

    def make(folder):
        assert run(toy.write_config(folder), folder / "work", "total_steps=10") == 0

    return _copy(once("toy-ten", make), tmp_path)


@pytest.fixture
def interrupted(once, tmp_path):
    """The work directory of a run that a signal interrupted at step 10 of 20."""

    def make(folder):
        assert run(toy.write_config(folder), folder / "work", change=signal_at(10)) == 75

    return _copy(once("toy-interrupted", make), tmp_path)


def _copy(made, folder):
    return shutil.copytree(made / "work", folder / "work")
