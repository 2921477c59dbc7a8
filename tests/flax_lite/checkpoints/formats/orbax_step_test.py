"""Tests of damaged and hostile steps: each is one ValueError, without blocking and without allocating claimed sizes."""

import json
import shutil
import tracemalloc

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore

from flax_lite import inspect
from flax_lite.checkpoints.formats.orbax_step import read_arrays, read_meta
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.training.steps import init_state
from tests.flax_lite import tiny
from tests.flax_lite.files.special import SPECIAL
from train.run.checkpoints import Checkpoints

BIAS = "params/encoder/embeddings/layer_norm/bias"
CONFIG = tiny.albert(num_hidden_layers=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A work directory with step 1."""
    path = tmp_path_factory.mktemp("written")
    (path / "config.json").write_text(json.dumps({"format": 1, "job": "pretrain", "config": {}}))
    checkpoints = Checkpoints(path / "checkpoints", keep=10, log=print)
    state = {**init_state(tiny.make("PreTraining", CONFIG), optax.sgd(1e-3)), "step": jnp.int32(1)}
    checkpoints.save(1, state, {"step": 1, "best": None, "model": CONFIG.to_json_dict()})
    checkpoints.wait()
    checkpoints.close()
    return path


@pytest.fixture
def work(written, tmp_path):
    return shutil.copytree(written, tmp_path / "work")


@pytest.fixture
def step(work):
    return work / "checkpoints" / "1"


def refusal(work, capsys):
    """Returns the error message of inspect, which may use at most 64 MB."""
    tracemalloc.start()
    try:
        assert inspect.main([str(work)]) == 2
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    with pytest.raises(ValueError, match=str(work)):
        open_source(work)
    return capsys.readouterr().err


def edit(file, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def stored(step, name):
    kvstore = {"driver": "ocdbt", "base": f"file://{step / 'state'}", "path": f"{name.replace('/', '.')}/"}
    return tensorstore.open({"driver": "zarr", "kvstore": kvstore}).result()


def test_arrays_of_a_subtree_are_read(step):
    tree = read_meta(step)["tree"]
    arrays = read_arrays(step, tree, "params", "pooler")
    wanted = {path.removeprefix("params/") for path in tree if path.startswith("params/")}
    assert set(arrays) == wanted
    assert all(isinstance(values, np.ndarray) for values in arrays.values())
    assert not [path for path in read_arrays(step, tree, "params", "encoder") if path.startswith("encoder/")]


FORMS = [
    "float32[1000000000000]",
    "float32[12",
    "float99[12]",
    "object[12]",
    "float32[-1]",
    3,
    None,
    {},
    "str[9]",
    "[]",
]


@pytest.mark.parametrize("form", FORMS)
def test_shapes_that_differ_from_the_stored_ones_are_refused(form, work, step, capsys):
    edit(step / "meta" / "metadata", lambda values: values["tree"].update({BIAS: form}))
    assert BIAS in refusal(work, capsys)


def test_shapes_that_the_files_cannot_hold_are_refused(work, step, capsys):
    """The array's metadata and the step's JSON agree on the size, but no chunk of it is stored."""
    stored(step, BIAS).resize(exclusive_max=[10**12], resize_metadata_only=True).result()
    edit(step / "meta" / "metadata", lambda values: values["tree"].update({BIAS: "float32[1000000000000]"}))
    assert "it claims 4000000" in refusal(work, capsys)


def test_chunks_larger_than_the_array_are_refused(work, step, capsys):
    array = stored(step, BIAS)
    kvstore = array.spec().to_json()["kvstore"]
    metadata = {"shape": [8], "chunks": [10**10], "dtype": "<f4", "compressor": None}
    spec = {"driver": "zarr", "kvstore": kvstore, "metadata": metadata, "create": True, "delete_existing": True}
    tensorstore.open(spec).result()
    assert "is stored in chunks of [10000000000]" in refusal(work, capsys)


@pytest.mark.parametrize("special", [name for name in SPECIAL if "directory" not in name])
@pytest.mark.parametrize("name", ["meta/metadata", "state/_METADATA", "state/manifest.ocdbt", "state/more"])
def test_special_files_are_refused(name, special, work, step, capsys):
    (step / name).unlink(missing_ok=True)
    SPECIAL[special][0](step / name)
    assert str(step) in refusal(work, capsys)


def test_directory_that_is_a_link_is_refused(work, step, capsys):
    (step / "state" / "d").rename(work / "d")
    (step / "state" / "d").symlink_to(work / "d")
    assert "is a link, which no job writes" in refusal(work, capsys)


def test_endless_metadata_are_refused(work, step, capsys):
    with (step / "state" / "_METADATA").open("ab") as file:
        file.truncate(10**10)
    assert "_METADATA has 10000000000 bytes, expected at most" in refusal(work, capsys)
    with (step / "meta" / "metadata").open("ab") as file:
        file.truncate(10**10)
    assert "metadata has 10000000000 bytes, expected at most" in refusal(work, capsys)


MALFORMED = {
    "unknown family": lambda values: values.update(model={"model_type": "gpt2"}),
    "no family": lambda values: values["model"].pop("model_type"),
    "a model that is a list": lambda values: values.update(model=[]),
    "no tree": lambda values: values.pop("tree"),
    "a tree that is text": lambda values: values.update(tree="params"),
    "no parameters": lambda values: values.update(tree={}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_metadata_are_refused(name, work, step, capsys):
    edit(step / "meta" / "metadata", MALFORMED[name])
    assert refusal(work, capsys).startswith("inspect: ")


@pytest.mark.parametrize("best", ["../../elsewhere", {"step": "../../elsewhere"}, {"step": 7}, [1], {"step": None}])
def test_best_step_is_one_of_the_steps(best, work, step):
    edit(step / "meta" / "metadata", lambda values: values.update(best=best))
    with pytest.raises(ValueError, match="has no best checkpoint"):
        open_source(f"{work}@best")
