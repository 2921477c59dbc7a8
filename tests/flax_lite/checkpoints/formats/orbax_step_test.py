"""Steps that no job wrote: one ValueError, without waiting, and without the memory that they claim."""

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
    checkpoints = Checkpoints(path / "checkpoints", keep=10, say=print)
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
    """What inspect says, with 64 MB at most."""
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


def test_arrays_below_a_name_are_read(step):
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
def test_claims_that_are_not_stored_are_refused(form, work, step, capsys):
    edit(step / "meta" / "metadata", lambda values: values["tree"].update({BIAS: form}))
    assert BIAS in refusal(work, capsys)


def test_claims_that_the_files_cannot_hold_are_refused(work, step, capsys):
    """The array says so of itself, and so does the JSON beside it; no piece of it is written."""
    stored(step, BIAS).resize(exclusive_max=[10**12], resize_metadata_only=True).result()
    edit(step / "meta" / "metadata", lambda values: values["tree"].update({BIAS: "float32[1000000000000]"}))
    assert "it claims 4000000" in refusal(work, capsys)


def test_pieces_larger_than_the_array_are_refused(work, step, capsys):
    array = stored(step, BIAS)
    kvstore = array.spec().to_json()["kvstore"]
    metadata = {"shape": [8], "chunks": [10**10], "dtype": "<f4", "compressor": None}
    spec = {"driver": "zarr", "kvstore": kvstore, "metadata": metadata, "create": True, "delete_existing": True}
    tensorstore.open(spec).result()
    assert "is stored in pieces of [10000000000]" in refusal(work, capsys)


@pytest.mark.parametrize("what", [name for name in SPECIAL if "directory" not in name])
@pytest.mark.parametrize("name", ["meta/metadata", "state/_METADATA", "state/manifest.ocdbt", "state/more"])
def test_special_files_are_refused(name, what, work, step, capsys):
    (step / name).unlink(missing_ok=True)
    SPECIAL[what][0](step / name)
    assert str(step) in refusal(work, capsys)


def test_directory_that_is_a_link_is_refused(work, step, capsys):
    (step / "state" / "d").rename(work / "d")
    (step / "state" / "d").symlink_to(work / "d")
    assert "is a link, which no job writes" in refusal(work, capsys)


def test_descriptions_without_end_are_refused(work, step, capsys):
    with (step / "state" / "_METADATA").open("ab") as file:
        file.truncate(10**10)
    assert "_METADATA has 10000000000 bytes, expected at most" in refusal(work, capsys)
    with (step / "meta" / "metadata").open("ab") as file:
        file.truncate(10**10)
    assert "metadata has 10000000000 bytes, expected at most" in refusal(work, capsys)


METAS = {
    "another model": lambda values: values.update(model={"model_type": "gpt2"}),
    "no kind of model": lambda values: values["model"].pop("model_type"),
    "a model that is a list": lambda values: values.update(model=[]),
    "no tree": lambda values: values.pop("tree"),
    "a tree that is text": lambda values: values.update(tree="params"),
    "no parameters": lambda values: values.update(tree={}),
}


@pytest.mark.parametrize("name", METAS)
def test_other_descriptions_are_refused(name, work, step, capsys):
    edit(step / "meta" / "metadata", METAS[name])
    assert refusal(work, capsys).startswith("inspect: ")


@pytest.mark.parametrize("best", ["../../elsewhere", {"step": "../../elsewhere"}, {"step": 7}, [1], {"step": None}])
def test_best_step_is_one_of_the_steps(best, work, step):
    edit(step / "meta" / "metadata", lambda values: values.update(best=best))
    with pytest.raises(ValueError, match="keeps no best checkpoint"):
        open_source(f"{work}@best")
