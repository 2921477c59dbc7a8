"""Tests of work directories as sources: the chosen step, its message, and incomplete or damaged directories."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from flax_lite.checkpoints.sources import resolve, work_directory
from flax_lite.checkpoints.sources.resolve import open_source, source_config
from flax_lite.models.pretrained import Pretrained, architecture
from flax_lite.pipelines.loading import load_for_task
from flax_lite.question_answering.beam import BeamQuestionAnswering
from flax_lite.training.steps import init_state
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from train.run.checkpoints import COMMIT_MARKER, Checkpoints

pytestmark = pytest.mark.compat

CONFIGS = {"albert": tiny.albert(num_hidden_layers=2), "bert": tiny.bert(num_hidden_layers=2)}


def names(model):
    """Returns the model's `architectures` in config.json."""
    return (architecture(type(model), model.config),) if isinstance(model, Pretrained) else ()


def write(path, config, steps, best=None, make=None, **changes):
    """Writes a work directory as a job does, with another model at each step; returns the models."""
    checkpoints = Checkpoints(path / "checkpoints", keep=10, log=print)
    (path / "config.json").write_text(json.dumps({"format": 1, "job": "pretrain", "config": {}}))
    models = {}
    for step in steps:
        model = make(config, step) if make else tiny.make("PreTraining", config, seed=step)
        state = {**init_state(model, optax.adam(1e-3)), "step": jnp.int32(step)}
        named = config.replace(architectures=names(model))
        checkpoints.save(step, state, {"step": step, "best": best, "model": named.to_json_dict(), **changes})
        checkpoints.wait()
        models[step] = model
    checkpoints.close()
    return models


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """A function that returns a family's work directory, and the models of its steps 3 and 5."""

    @functools.cache
    def make(family):
        path = tmp_path_factory.mktemp(family)
        best = {"step": 3, "metric": "loss", "value": 1.0}
        return path, write(path, CONFIGS[family], (3, 5), best)

    return make


@pytest.fixture
def work(works):
    return works("albert")


@pytest.mark.parametrize(
    ("family", "suffix", "step", "reason"),
    [
        ("albert", "", 5, ", the newest of a job that has not finished; the best so far is 3"),
        ("albert", "@3", 3, ""),
        ("albert", "@last", 5, ", the newest; the best so far is 3"),
        ("bert", "@5", 5, ""),
        ("bert", "@best", 3, ", the best by loss; the newest is 5"),
    ],
)
def test_named_step_is_loaded_and_logged_once(works, caplog, family, suffix, step, reason):
    path, models = works(family)
    assert source_config(f"{path}{suffix}").num_hidden_layers == 2
    assert caplog.messages == []
    loaded = tiny.MODELS["PreTraining"].from_pretrained(f"{path}{suffix}")
    files.assert_same_parameters(models[step], loaded)
    assert loaded.config == models[step].config.replace(architectures=loaded.config.architectures)
    assert caplog.messages == [f"{path}: using step {step}{reason}"]


@pytest.mark.parametrize(
    ("summary", "step"),
    [
        ('{"status": "running", "step": 5}', 5),
        ('{"status": "interrupted", "step": 5}', 5),
        ('{"status": "finished", "step": 5, "model_step": 3}', 3),
        ('{"status": "finished", "step": 5}', 3),
        ('{"status": "finished", "step": 5, "model_step": 4}', 3),  # not kept
        ('{"status": "finished", "step": 5, "model_step": 5}', 5),  # keep_best was turned off on resume
        ('{"status": "fini', 5),
    ],
)
def test_best_step_of_a_finished_job_is_the_default(work, tmp_path, summary, step):
    path = tmp_path / "work"
    shutil.copytree(work[0], path)
    (path / "summary.json").write_text(summary)
    assert open_source(path).path == path / "checkpoints" / str(step)
    assert open_source(f"{path}@last").path == path / "checkpoints" / "5"
    assert open_source(f"{path}@best").path == path / "checkpoints" / "3"


def test_newest_step_of_a_finished_job_without_a_best_one_is_the_default(tmp_path, caplog):
    write(tmp_path, CONFIGS["albert"], (1, 2))
    (tmp_path / "summary.json").write_text('{"status": "finished", "model_step": 2}')
    open_source(tmp_path)
    assert caplog.messages == [f"{tmp_path}: using step 2, the newest"]


def test_other_task_starts_from_a_work_directory(work, caplog):
    """As from any checkpoint: heads of the file are skipped and a new one is initialized, logged in one line."""
    path, models = work
    loaded = tiny.MODELS["SequenceClassification"].from_pretrained(path, num_labels=3)
    files.assert_same_parameters(models[5].encoder, loaded.encoder)
    assert "initialized classifier" in caplog.text


@pytest.mark.parametrize("which", ["4", "newest", "-1", "3.0"])
def test_unknown_step_is_an_error_that_lists_the_steps(work, which):
    with pytest.raises(ValueError, match=rf"no checkpoint '{which}'; it has 3, 5, 'last', and 'best' if one is kept"):
        tiny.MODELS["PreTraining"].from_pretrained(f"{work[0]}@{which}")


def test_incomplete_steps_are_skipped(work, tmp_path):
    """A step that is still being written has no commit marker."""
    path = tmp_path / "running"
    shutil.copytree(work[0], path)
    (path / "checkpoints" / "5" / COMMIT_MARKER).unlink()
    (path / "checkpoints" / "7.orbax-checkpoint-tmp-1").mkdir()
    loaded = tiny.MODELS["PreTraining"].from_pretrained(path)
    files.assert_same_parameters(work[1][3], loaded)
    shutil.rmtree(path / "checkpoints" / "3")
    with pytest.raises(ValueError, match="without a complete checkpoint yet"):
        tiny.MODELS["PreTraining"].from_pretrained(path)


def test_missing_configuration_and_missing_best_step_are_explained(tmp_path):
    write(tmp_path, CONFIGS["albert"], (1,), model=None)
    with pytest.raises(ValueError, match="does not contain the configuration of its model"):
        tiny.MODELS["PreTraining"].from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no best checkpoint .* name a step: 1"):
        tiny.MODELS["PreTraining"].from_pretrained(f"{tmp_path}@best")


@pytest.mark.parametrize("part", ["meta", "state"])
def test_damaged_step_is_one_error(work, tmp_path, part):
    path = tmp_path / "damaged"
    shutil.copytree(work[0], path)
    for file in sorted((path / "checkpoints" / "5" / part).rglob("*")):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(ValueError, match="5 cannot be read"):
        tiny.MODELS["PreTraining"].from_pretrained(path)


def test_only_parameters_are_read(work, monkeypatch):
    """The optimizer state is twice as large as the parameters."""
    import orbax.checkpoint as ocp

    restored = []
    restore = ocp.PyTreeCheckpointHandler.restore

    def spy(self, *arguments, **options):
        result = restore(self, *arguments, **options)
        restored.append(result)
        return result

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "restore", spy)
    tiny.MODELS["PreTraining"].from_pretrained(work[0])
    assert [list(tree) for tree in restored] == [["params"]]
    assert jax.tree.leaves(restored)


def test_another_format_is_refused_with_advice(work, tmp_path):
    work = shutil.copytree(work[0], tmp_path / "work")
    (work / "config.json").write_text(json.dumps({"format": 9, "job": "pretrain", "config": {}}))
    with pytest.raises(ValueError, match=r"of format 9, this version reads 1: give .*work/model"):
        open_source(f"{work}@3")


def test_beam_head_and_encoder_are_from_one_step(tmp_path, monkeypatch):
    """The job saves a step while the model is loaded: both parts are from the step before."""

    def make(config, seed):
        return BeamQuestionAnswering(config, rngs=nnx.Rngs(seed))

    (tmp_path / "work").mkdir()
    (model,) = write(tmp_path / "work", CONFIGS["albert"], (3,), make=make).values()
    original = work_directory.open_work_directory

    def open_and_save_another(path, which=None):
        checkpoint = original(path, which)
        write(path, CONFIGS["albert"], (5,), make=make)
        return checkpoint

    monkeypatch.setattr(resolve, "open_work_directory", open_and_save_another)
    loaded = load_for_task(str(tmp_path / "work"), "question-answering", None)
    files.assert_same_parameters(model, loaded)
