"""Programs compile with the quick compiler: what it leaves out makes programs faster, and these run a few times."""

from types import SimpleNamespace

import jax
import pytest

from flax_lite.pipelines import programs
from tests.flax_lite import tiny


@pytest.fixture(autouse=True)
def _quick_compiler(monkeypatch):
    monkeypatch.setattr(programs, "jax", SimpleNamespace(jit=tiny.jit, Array=jax.Array))
