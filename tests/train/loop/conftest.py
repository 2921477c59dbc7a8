"""A toy job to run, and what it gives undisturbed."""

import pytest

from tests.train import toy
from tests.train.loop.runs import outcome, run


@pytest.fixture
def config(tmp_path):
    return toy.write_config(tmp_path)


@pytest.fixture
def start(tmp_path, config):
    def start(*overrides, name="work", **kwargs):
        return run(config, tmp_path / name, *overrides, **kwargs)

    return start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(toy.write_config(folder), folder / "work") == 0
    return outcome(folder / "work")
