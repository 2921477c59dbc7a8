"""Rates and step times, with a fake clock."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from flax_lite.architecture.registry import preset
from flax_lite.layers.execution import Execution
from flax_lite.models.flops import Costs
from train.run.pace import COLUMNS, Pace, peak_flops_per_second


class FakeClock:
    """A clock with settable seconds per phase."""

    def __init__(self, **seconds):
        self.seconds = seconds

    def pass_by(self, **seconds):
        for phase, more in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + more

    def read(self):
        return dict(self.seconds)


@pytest.fixture
def clock():
    return FakeClock(init=9.0, compile=5.0, data=0.5)


def test_a_row_covers_the_steps_since_the_previous_row(clock):
    """Ten steps of 0.3 to 1.2 s, a fifth of each waiting for data; evaluation in between is not counted."""
    timed = Pace(clock, 40, tokens_per_step=100, peak_flops_per_second=1e6)
    for number in range(10):
        clock.pass_by(steps=0.8 * (0.3 + number / 10), data=0.2 * (0.3 + number / 10), eval=3.0)
        timed.arrived(flops=1000.0 * (1 + number % 2))
    row = timed.row(50)
    assert tuple(row) == COLUMNS
    assert row["tokens_per_second"] == pytest.approx(1000 / 7.5)
    assert row["step_seconds_p50"] == pytest.approx(0.7)
    assert row["step_seconds_p90"] == pytest.approx(1.1)
    assert row["data_wait_fraction"] == pytest.approx(0.2)
    assert row["model_flops_per_second"] == pytest.approx(15_000 / 7.5)
    assert row["mfu"] == pytest.approx(0.002)
    clock.pass_by(steps=2.0)
    timed.arrived(flops=1000.0)
    second = timed.row(51)
    assert (second["tokens_per_second"], second["data_wait_fraction"]) == (pytest.approx(50), 0.0)
    assert second["step_seconds_p90"] == pytest.approx(2.0)
    assert timed.of_run()["max"] == pytest.approx(2.0)
    assert timed.of_run()["p50"] == pytest.approx(0.8)


def test_percentiles_are_measured_times(clock):
    """The nearest rank, not an interpolation between two of them."""
    timed = Pace(clock, 0, 1, None)
    for seconds in (0.4, 0.1, 0.3, 0.2):
        clock.pass_by(steps=seconds)
        timed.arrived(None)
    assert timed.of_run() == pytest.approx({"p50": 0.2, "p90": 0.4, "p99": 0.4, "max": 0.4})


@pytest.mark.parametrize("phase", ["compile", "profile"])
def test_a_step_during_another_phase_is_not_timed(clock, phase):
    """The devices keep running meanwhile, so the interval after that phase is too short as well."""
    timed = Pace(clock, 0, 1, None)
    clock.pass_by(**{phase: 60.0}, steps=0.001)
    timed.arrived(None)
    clock.pass_by(steps=0.001)
    timed.arrived(None)
    assert not [name for name in timed.row(2) if name.startswith("step_seconds")]
    assert timed.of_run() == {}
    clock.pass_by(steps=0.5)
    timed.arrived(None)
    assert timed.of_run()["max"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("flops", "peak", "names"),
    [
        (5.0, 10.0, ["model_flops_per_second", "mfu"]),
        (5.0, None, ["model_flops_per_second"]),
        (None, 10.0, []),
    ],
)
def test_unknown_rates_are_left_out(clock, flops, peak, names):
    timed = Pace(clock, 0, 1, peak)
    clock.pass_by(steps=1.0)
    timed.arrived(flops)
    assert [name for name in timed.row(1) if "mfu" in name or "flops" in name] == names


class Device:
    def __init__(self, device_kind):
        self.device_kind = device_kind


@pytest.mark.parametrize(
    ("kind", "dtype", "each"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA H100 80GB HBM3", "float32", 494e12),
        ("TPU v5 lite", "float32", 197e12),
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA B900", "bfloat16", None),
        ("cpu", "float32", None),
    ],
)
def test_the_peak_is_that_of_the_mesh_in_the_compute_dtype(kind, dtype, each):
    mesh = type("FakeMesh", (), {"devices": np.array([[Device(kind), Device(kind)]]), "size": 2})()
    config = preset("albert-base-v2", vocab_size=100)
    expected = None if each is None else 2 * each
    assert peak_flops_per_second(Costs(config=config, execution=Execution(dtype=dtype)), mesh) == expected


def test_a_job_without_costs_has_no_peak():
    assert peak_flops_per_second(None, Mesh(np.array(jax.devices()[:1]), ("data",))) is None
