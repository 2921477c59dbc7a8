"""metrics.jsonl: valid JSON with increasing steps; the clock."""

import json
import math
import time

import numpy as np
import pytest

from train.run.metrics import Clock, LossMean, MetricsWriter, read_metrics


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def fill(path, steps, last_step=0):
    writer = MetricsWriter(path, last_step)
    for step in steps:
        writer.write(step, "train", {"loss": 1 / step})
    writer.close()
    return writer


def steps(path):
    return [row["step"] for row in read_metrics(path)]


def test_writer_keeps_every_bit_of_a_loss(path):
    value = float(np.float32(math.pi))
    writer = MetricsWriter(path, 0)
    writer.write(1, "eval", {"loss": np.float32(value), "mlm_loss": value, "rows": 3})
    assert read_metrics(path) == [{"step": 1, "split": "eval", "loss": value, "mlm_loss": value, "rows": 3}]
    writer.sync()
    writer.close()


def test_writer_writes_null_for_nan_and_infinity(path):
    writer = MetricsWriter(path, 0)
    writer.write(1, "train", {"loss": math.nan, "grad_norm": np.float32(np.inf)})
    writer.close()
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["loss"] is None


def test_rows_are_on_disk_before_the_next_step(path):
    """A killed process flushes nothing, so each row must be flushed when write returns."""
    writer = MetricsWriter(path, 0)
    for step in (1, 2):
        writer.write(step, "train", {"loss": 0.0})
        assert steps(path)[-1] == step
    writer.close()


def test_resuming_drops_rows_past_the_restored_step(path):
    fill(path, range(1, 11))
    again = fill(path, range(7, 9), last_step=6)
    assert steps(path) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (again.lost_steps, again.torn_lines) == (4, 0)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_resuming_drops_a_torn_last_line(path, cut):
    fill(path, range(1, 6))
    path.write_bytes(path.read_bytes()[:-cut])
    assert steps(path) == [1, 2, 3, 4]
    again = fill(path, [5], last_step=4)
    assert steps(path) == [1, 2, 3, 4, 5]
    assert again.torn_lines == (0 if cut == 1 else 1)  # a row that lacks only its newline is complete


def test_resuming_drops_lines_that_are_not_rows(path):
    fill(path, range(1, 4))
    path.write_bytes(path.read_bytes() + b"\0\0\0\n{}\n[1]\n")
    with pytest.raises(ValueError, match="line 4 is not a metrics row"):
        read_metrics(path)
    assert fill(path, [4], last_step=3).torn_lines == 3
    assert steps(path) == [1, 2, 3, 4]


def test_resuming_leaves_an_intact_file_alone(path):
    fill(path, range(1, 4))
    inode = path.stat().st_ino
    assert fill(path, [], last_step=3).lost_steps == 0
    assert path.stat().st_ino == inode


def test_a_missing_file_has_no_rows(path):
    assert read_metrics(path) == []


def test_clock_phases_nest_without_counting_twice():
    clock = Clock()
    with clock("outer"):
        time.sleep(0.02)
        with clock("inner"):
            time.sleep(0.03)
            assert clock.read()["inner"] >= 0.03
        time.sleep(0.01)
    seconds = clock.read()
    assert seconds["inner"] >= 0.03
    assert seconds["outer"] >= 0.03
    assert sum(seconds.values()) <= clock.total()


def test_the_mean_of_a_loss_weights_each_term_by_its_elements():
    mean = LossMean({"mlm_loss": 1.0, "sop_loss": 0.5})
    mean.add({"mlm_loss": 2.0, "mlm_loss_weight": 3.0, "sop_loss": 1.0, "sop_loss_weight": 8.0})
    mean.add({"mlm_loss": 4.0, "mlm_loss_weight": 1.0, "sop_loss": 0.0, "sop_loss_weight": 0.0})
    assert mean.value() == (2.0 * 3 + 4.0) / 4 + 0.5 * 1.0
    resumed = LossMean({"mlm_loss": 1.0, "sop_loss": 0.5}, json.loads(json.dumps(mean.sums)))
    assert resumed.value() == mean.value()
    assert LossMean({"loss": 1.0}, mean.sums).sums == {"loss": [0.0, 0.0]}  # of another version's terms
    mean.clear()
    assert mean.value() == 0.0
