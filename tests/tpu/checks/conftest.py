import pytest

from tests.tpu.machines import Machines


@pytest.fixture
def machines(tmp_path):
    return Machines(tmp_path)
