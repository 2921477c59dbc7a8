"""Which errors tell that another host is gone."""

import jax
import pytest

from train.hosts import lost_another


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (jax.errors.JaxRuntimeError("INTERNAL: Gloo AllGather failed: [..] Connection closed by peer"), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (RuntimeError("Gloo"), False),
    ],
)
def test_a_collective_that_lost_a_host_is_told_from_a_defect(error, expected):
    assert lost_another(error) is expected
