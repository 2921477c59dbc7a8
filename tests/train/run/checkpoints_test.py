"""Checkpoints with real Orbax directories: damage, retention, failed writes, other meshes."""

import resource
import shutil
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore

from flax_lite.models.params import tree_shardings
from tests.train.forked import Process
from train.errors import RunError, UserError
from train.machine.mesh import make_mesh
from train.run.checkpoints import COMMIT_MARKER, Checkpoints, _first_line, describe_tree

META = {"format": 1, "identity": {"data": "a"}}


def make_state(step, width=4):
    params = {"dense": {"kernel": jnp.full((width, width), float(step)), "bias": jnp.arange(3, dtype=jnp.bfloat16)}}
    return {"step": jnp.int32(step), "params": params, "opt_state": optax.adam(0.1).init(params)}


def abstract_of(state, mesh=None):
    mesh = mesh or make_mesh(1, 1)
    shardings = tree_shardings(state, mesh)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state, shardings
    )


class Box:
    """Checkpoints of a directory, with the lines that they logged."""

    def __init__(self, root, keep=3):
        self.logged = []
        self.checkpoints = Checkpoints(root, keep, self.logged.append)
        self.root = root

    def save(self, *steps, best=None):
        for step in steps:
            self.checkpoints.save(step, make_state(step), {"step": step, **META}, best)
        self.checkpoints.wait()

    def restore(self, expected=META):
        found = self.checkpoints.restore(abstract_of(make_state(0)), expected)
        return None if found is None else int(found[0]["step"])

    def bad(self):
        return sorted(path.name for path in self.root.with_name("checkpoints.bad").glob("*"))


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path / "checkpoints")
    yield box
    box.checkpoints.close()


@pytest.mark.compat
def test_restore_returns_every_bit_of_the_newest(box):
    box.save(1, 2)
    state, meta = box.checkpoints.restore(abstract_of(make_state(0)), META)
    wanted = make_state(2)
    assert jax.tree.structure(state) == jax.tree.structure(wanted)
    assert describe_tree(state) == describe_tree(wanted)
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(wanted), strict=True):
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()
    assert meta["step"] == 2
    assert meta["identity"] == {"data": "a"}
    assert not box.logged


def test_restore_of_nothing_is_none(box):
    assert box.restore() is None
    assert not box.logged


def empty(step):
    shutil.rmtree(step)
    step.mkdir()


def truncate(step, pattern):
    for file in step.rglob(pattern):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGES = {
    "empty": empty,
    "no-commit-marker": lambda step: (step / COMMIT_MARKER).unlink(),
    "unreadable metadata": lambda step: truncate(step, "_METADATA"),
    "unreadable meta": lambda step: truncate(step / "meta", "metadata"),
    "unreadable arrays": lambda step: truncate(step / "state", "[0-9a-f]*[0-9a-f]"),
    "unreadable manifest": lambda step: truncate(step / "state", "manifest.ocdbt"),
    "unreadable no arrays": lambda step: shutil.rmtree(step / "state" / "d"),
    "unreadable no state": lambda step: shutil.rmtree(step / "state"),
    "another-step-than-its-name": lambda step: (shutil.rmtree(step), shutil.copytree(step.with_name("1"), step)),
}


@pytest.mark.compat
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_moved_and_the_previous_one_used(box, damage):
    """For every kind of damage to the newest step, with one line about it."""
    box.save(1, 2)
    DAMAGES[damage](box.root / "2")
    assert box.restore() == 1
    (line,) = box.logged
    assert line.startswith("checkpoint 2 is bad: ")
    assert box.bad() == [f"2-{damage.split()[0]}"]
    assert box.checkpoints.steps() == [1]
    box.save(2)  # the name is free again
    assert box.restore() == 2


def test_if_all_are_damaged_the_run_starts_over(box):
    box.save(1, 2)
    for step in (1, 2):
        truncate(box.root / str(step), "_METADATA")
    assert box.restore() is None
    assert box.logged[-1] == "no good checkpoint is left: starting from the first step"
    box.save(1)
    truncate(box.root / "1", "_METADATA")
    assert box.restore() is None
    assert box.bad() == ["1-unreadable", "1-unreadable-2", "2-unreadable"]


def test_leftovers_of_a_killed_process_are_cleared(box):
    box.save(1)
    for name in ("2.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-1", "0.deleting"):
        (box.root / name).mkdir()
    assert box.restore() == 1
    assert sorted(path.name for path in box.root.iterdir()) == ["1"]
    assert len(box.bad()) == 1
    assert len(box.logged) == 2


def test_parameters_that_are_not_finite_are_not_restored(box):
    box.save(1)
    state = make_state(2)
    state["params"]["dense"]["kernel"] = state["params"]["dense"]["kernel"].at[0, 0].set(jnp.nan)
    box.checkpoints.save(2, state, {"step": 2, **META})
    box.checkpoints.wait()
    assert box.restore() == 1
    assert "not finite" in box.logged[0]


def test_an_intact_checkpoint_of_another_model_is_an_error_not_damage(box):
    """Starting over would discard a good run because of a changed input."""
    box.save(1)
    with pytest.raises(UserError, match=r"params/dense/kernel: float32\[4,4\] -> float32\[5,5\]"):
        box.checkpoints.restore(abstract_of(make_state(0, width=5)), META)
    with pytest.raises(UserError, match="data: a -> b"):
        box.restore({**META, "identity": {"data": "b"}})
    assert box.restore() == 1


def test_retention_keeps_the_newest_and_the_best(tmp_path):
    box = Box(tmp_path / "checkpoints", keep=2)
    box.save(1, 2)
    box.save(3, 4, 5, best=3)
    assert box.checkpoints.steps() == [3, 4, 5]
    box.save(6, best=6)
    assert box.checkpoints.steps() == [5, 6]
    assert sorted(path.name for path in box.root.iterdir()) == ["5", "6"]
    box.checkpoints.close()


def test_the_old_best_stays_until_the_new_one_is_complete(box):
    """A process killed while it writes the new best checkpoint must still have the old one."""
    box.checkpoints.keep = 1
    box.save(1, best=1)
    box.save(2, best=1)
    box.checkpoints.save(3, make_state(3), {"step": 3, **META}, 3)
    assert box.checkpoints.best_step == 1
    box.checkpoints.wait()
    assert box.checkpoints.steps() == [3]


def test_donating_the_state_does_not_change_what_is_saved(box):
    """The state is donated to the next step while Orbax is still writing; it must write the old values."""
    advance = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    params = advance({f"w{index}": jnp.zeros((512, 512)) for index in range(8)})
    state = {"step": jnp.int32(1), "params": params}
    box.checkpoints.save(1, state, {"step": 1, **META})
    for _ in range(20):
        params = advance(params)
    box.checkpoints.wait()
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), {"step": state["step"], "params": params}
    )
    restored, _ = box.checkpoints.restore(abstract_of(shapes), META)
    for leaf in jax.tree.leaves(restored["params"]):
        np.testing.assert_array_equal(leaf, 1.0)


def test_a_save_that_cannot_start_is_an_error_that_names_the_step(box):
    box.save(1)
    shutil.rmtree(box.root)
    box.root.write_text("in the way")
    with pytest.raises(RunError, match="the checkpoint of step 2 could not be written"):
        box.save(2)


def fill_the_disk():
    box = Box(Path(sys.argv[1]))
    box.save(1)
    state = make_state(2)
    state["params"]["dense"]["kernel"] = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    box.checkpoints.save(2, state, {"step": 2, **META})
    print("still running")
    try:
        box.checkpoints.wait()
    except Exception as error:
        print(type(error).__name__, error)
    box.checkpoints.close()


def test_a_save_that_fails_in_the_background_is_one_clean_error(tmp_path):
    """The disk fills while Orbax writes in the background: the next wait raises, and nothing else is printed."""
    process = Process(tmp_path / "checkpoints", call=f"{__name__}:fill_the_disk")
    status, output, errors = process.end()
    assert (status, errors) == (0, "")
    first, second, third = output.splitlines()
    assert first == "still running"
    assert second.startswith("RunError the checkpoint of step 2 could not be written")
    assert "File too large" in second, second
    assert third.startswith("the last complete one is step 1")


def test_an_error_of_tensorstore_is_shortened():
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": "/dev/null/"}, "metadata": {"shape": [1]}}
    with pytest.raises(ValueError, match="tensorstore_spec") as caught:
        tensorstore.open(spec, create=True, dtype="float32").result()
    assert "cache_pool" in str(caught.value)
    line = _first_line(caught.value)
    assert line.startswith("ValueError: ")
    assert "Not a directory" in line
    assert "tensorstore_spec" not in line


def read_on_one_device():
    warnings.simplefilter("error")
    assert jax.device_count() == 1
    box = Box(Path(sys.argv[1]))
    state, _ = box.checkpoints.restore(abstract_of(make_state(0, width=512)), META)
    np.testing.assert_array_equal(state["params"]["dense"]["kernel"], 7.0)
    assert not box.logged, box.logged
    box.checkpoints.close()


@pytest.mark.compat
def test_a_state_of_eight_devices_restores_on_one(box):
    mesh = make_mesh(2, 4)
    state = make_state(7, width=512)
    state = jax.device_put(state, tree_shardings(state, mesh))
    assert len(state["params"]["dense"]["kernel"].sharding.device_set) == 8
    assert not state["params"]["dense"]["kernel"].sharding.is_fully_replicated
    box.checkpoints.save(7, state, {"step": 7, **META})
    box.checkpoints.wait()
    process = Process(box.root, call=f"{__name__}:read_on_one_device", environment={"XLA_FLAGS": ""})
    assert process.wait() == 0, process.errors


@pytest.mark.compat
def test_a_state_of_one_device_restores_on_eight(box):
    box.checkpoints.save(7, make_state(7, width=512), {"step": 7, **META})
    box.checkpoints.wait()
    mesh = make_mesh(2, 4)
    state, _ = box.checkpoints.restore(abstract_of(make_state(0, width=512), mesh), META)
    kernel = state["params"]["dense"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (128, 512)
    np.testing.assert_array_equal(kernel, 7.0)
