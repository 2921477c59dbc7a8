"""The contents of event files, and how a resumed run overrides those of earlier runs."""

import sys

import pytest

from tests.train.run.events import events_of, scalars_of
from train.errors import UserError
from train.run.tensorboard import TensorBoardWriter, check_package


def test_each_number_is_a_scalar_at_its_step(tmp_path):
    writer = TensorBoardWriter(tmp_path, 0)
    writer.write(1, "train", {"loss": 2.5, "grad_norm": 0.5})
    writer.write(1, "eval", {"loss": 3.0, "mlm_accuracy": 0.25})
    writer.write(2, "train", {"loss": float("nan"), "grad_norm": float("inf")})
    writer.write(12, "train", {"loss": 1.5})
    writer.close()
    assert scalars_of(tmp_path) == {
        "train/loss": {1: 2.5, 12: 1.5},
        "train/grad_norm": {1: 0.5},
        "eval/loss": {1: 3.0},
        "eval/mlm_accuracy": {1: 0.25},
    }


def test_a_resumed_run_replaces_later_steps(tmp_path):
    """Both files are created within one second, which is part of their names, and neither overwrites the other."""
    for first, steps, loss in ((0, (1, 2, 3, 4, 5), 5.0), (2, (3, 4), 6.0)):
        writer = TensorBoardWriter(tmp_path, first)
        for step in steps:
            writer.write(step, "train", {"loss": loss})
        writer.close()
    assert scalars_of(tmp_path) == {"train/loss": {1: 5.0, 2: 5.0, 3: 6.0, 4: 6.0}}
    assert len(list(tmp_path.iterdir())) == 2


def test_sync_flushes_to_the_file(tmp_path):
    writer = TensorBoardWriter(tmp_path, 0)
    writer.sync()
    assert events_of(tmp_path)
    writer.close()


def test_a_missing_package_is_explained(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # an import of it fails
    for attempt in (check_package, lambda: TensorBoardWriter(tmp_path / "events", 0)):
        with pytest.raises(UserError, match=r"pip install -e '.\[tensorboard\]'"):
            attempt()
    assert not (tmp_path / "events").exists()
