"""A worker's answers, in this process."""

import numpy as np
import pytest

from benchmarks.gpu_steps.cases import REAL, SMOKE, Case, Setting
from benchmarks.gpu_steps.worker import describe, prepare, product_rate


@pytest.mark.slow  # two training steps; command_test.py runs two of ALBERT's, and compares them
def test_settings_of_a_case_have_the_same_first_loss():
    """The dropout of BERT depends on the seed and not on the execution."""

    def outcome(setting):
        found = prepare(SMOKE, Case(model="bert_base", length=16, rows=4, setting=setting))()
        assert len(found.step_seconds) == SMOKE.steps
        return found.loss, found.grad_norm

    np.testing.assert_allclose(outcome(Setting()), outcome(Setting(unroll=0, remat="full")), rtol=1e-5)


def test_a_cpu_is_refused_except_for_smoke():
    assert describe(REAL) == {"error": "no GPU that computes in bfloat16 here, but cpu (cpu)"}
    found = describe(SMOKE)
    assert found["peak"] is None
    assert found["floor"] > 0
    assert found["circumstances"]["commit"]


def test_the_floor_is_operations_over_time(monkeypatch):
    """Sixteen products of 64 x 64 matrices, 2 * 64^3 operations each, in a second."""
    times = iter(range(100))
    monkeypatch.setattr("benchmarks.harness.timing.time.perf_counter", lambda: float(next(times)))
    assert product_rate(SMOKE) == 16 * 2 * 64**3
