"""Meshes and batches; 8 CPU devices (tests/conftest.py)."""

import numpy as np
import pytest
from jax.sharding import AxisType

from train.errors import UserError
from train.machine import mesh


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [((-1, 1), (8, 1)), ((1, -1), (1, 8)), ((-1, 4), (2, 4)), ((2, 4), (2, 4)), ((1, 1), (1, 1)), ((2, 2), (2, 2))],
)
def test_make_mesh_fills_in_the_open_size(sizes, shape):
    made = mesh.make_mesh(*sizes)
    assert tuple(made.shape.values()) == shape
    assert made.axis_types == (AxisType.Auto, AxisType.Auto)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((-1, -1), "at most one"), ((0, 1), "positive"), ((-1, 3), "not a multiple of 3"), ((16, 1), "there are 8")],
)
def test_make_mesh_refuses_impossible_sizes(sizes, message):
    with pytest.raises(UserError, match=message):
        mesh.make_mesh(*sizes)


@pytest.mark.parametrize(("size", "accumulation", "nearest"), [(12, 1, "8 or 16"), (24, 2, "16 or 32"), (4, 1, ": 8$")])
def test_batch_size_error_names_the_nearest_valid_sizes(size, accumulation, nearest):
    with pytest.raises(UserError, match=nearest):
        mesh.check_batch_size(size, accumulation, 8)


def test_batch_size_that_divides_is_accepted():
    mesh.check_batch_size(32, 2, 8)


def test_put_batch_splits_rows_over_both_axes():
    made = mesh.make_mesh(2, 4)
    batch = mesh.put_batch({"ids": np.arange(32, dtype=np.int32).reshape(16, 2), "label": np.arange(16)}, made)
    assert batch["ids"].sharding.spec == mesh.BATCH
    assert [shard.data.shape for shard in batch["ids"].addressable_shards] == [(2, 2)] * 8
    np.testing.assert_array_equal(batch["ids"].ravel(), np.arange(32))
    with pytest.raises(UserError, match=r"ids of shape \(12, 2\) cannot be split over 8 devices"):
        mesh.put_batch({"ids": np.zeros((12, 2))}, made)


def test_device_line_names_the_used_devices():
    assert "8 x cpu" in mesh.device_line(mesh.make_mesh(-1, 1))
    assert mesh.device_line(mesh.make_mesh(2, 1)).endswith("mesh data=2 fsdp=1; 6 more unused")


@pytest.mark.parametrize(("name", "kind"), [("nvidia0", "GPU"), ("accel0", "TPU"), ("vfio/0", "TPU")])
def test_an_unused_accelerator_causes_a_warning(tmp_path, monkeypatch, name, kind):
    assert mesh.unused_accelerator(tmp_path) is None
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()
    (tmp_path / "nvidiactl").touch()
    assert mesh.unused_accelerator(tmp_path) is None
    (tmp_path / name).touch()
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert f"seems to have a {kind}" in (mesh.unused_accelerator(tmp_path) or "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS=cpu is set" in (mesh.unused_accelerator(tmp_path) or "")
