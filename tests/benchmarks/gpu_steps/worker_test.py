"""What a worker answers, in this process."""

import dataclasses

import numpy as np
import pytest

from benchmarks.gpu_steps.cases import REAL, SMOKE, Case, Setting
from benchmarks.gpu_steps.results import Measurement
from benchmarks.gpu_steps.worker import describe, measure, product_rate


@pytest.mark.slow  # two training steps; command_test.py runs two of ALBERT's, and compares them
def test_settings_of_a_case_begin_alike(tmp_path):
    """Dropout, which BERT has, draws the same for the same seed, however a step is computed."""

    def outcome(setting):
        case = Case(model="bert_base", length=16, rows=4, setting=setting)
        (tmp_path / "go").touch()
        found = Measurement(**measure(SMOKE, {"case": dataclasses.asdict(case), "turn": str(tmp_path)}))
        assert len(found.step_seconds) == SMOKE.steps
        return found.loss, found.grad_norm

    np.testing.assert_allclose(outcome(Setting()), outcome(Setting(unroll=0, remat="full")), rtol=1e-5)


def test_a_cpu_is_refused_but_for_smoke():
    assert describe(REAL, {}) == {"failed": "no GPU that computes in bfloat16 here, but cpu (cpu)"}
    found = describe(SMOKE, {})
    assert found["peak"] is None
    assert found["floor"] > 0
    assert found["circumstances"]["commit"]


def test_the_floor_is_the_products_operations_over_their_time(monkeypatch):
    """Sixteen products of 64 x 64 matrices, 2 * 64^3 operations each, in a second."""
    times = iter(range(100))
    monkeypatch.setattr("benchmarks.gpu_steps.worker.time.perf_counter", lambda: float(next(times)))
    assert product_rate(SMOKE) == 16 * 2 * 64**3
