"""Only trained parameters are exported: a checkpoint without the task's head, or with another task's, is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.exporting.loading import load_for_export
from flax_lite.exporting.tasks import choose_task, outputs_of
from flax_lite.layers.execution import Execution
from flax_lite.models.tasks import EXPORTS
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files


def load(directory, task, dtype="float32"):
    return load_for_export(open_source(directory), EXPORTS[task], Execution(dtype=dtype))


# The family that has each head here; families differ in the tables of tests/flax_lite/checkpoints.
FAMILY_OF = {
    "Encoder": "albert",
    "MaskedLM": "bert",
    "SequenceClassification": "distilbert",
    "TokenClassification": "albert",
    "QuestionAnswering": "bert",
    "MultipleChoice": "bert",
    "PreTraining": "bert",
}


def saved(directory, head):
    return files.saved(directory, head, tiny.FAMILIES[FAMILY_OF[head]]())


@pytest.mark.parametrize("task", EXPORTS)
def test_task_is_that_of_the_checkpoint_and_all_of_it_is_read(task, tmp_path):
    model = saved(tmp_path, EXPORTS[task].model)
    assert choose_task(open_source(tmp_path).config, None).export == task
    files.assert_same_parameters(model, load(tmp_path, task))


@pytest.mark.parametrize(
    ("head", "task"),
    [
        ("MaskedLM", "text-classification"),
        ("MaskedLM", "question-answering"),
        ("SequenceClassification", "fill-mask"),
        ("Encoder", "token-classification"),
        ("TokenClassification", "text-classification"),
        ("SequenceClassification", "token-classification"),
        ("MultipleChoice", "text-classification"),
    ],
)
def test_head_that_was_not_trained_is_refused(head, task, tmp_path):
    saved(tmp_path, head)
    with pytest.raises(ValueError, match=rf"(?s)cannot be exported for {task}.*missing|no head for {task}"):
        load(tmp_path, task)


def test_word_head_of_pretraining_is_exported_when_asked_for(tmp_path):
    model = saved(tmp_path, "PreTraining")
    config = open_source(tmp_path).config
    with pytest.raises(ValueError, match="architectures: BertForPreTraining, which is none of the tasks"):
        choose_task(config, None)
    assert choose_task(config, "fill-mask").export == "fill-mask"
    trained, found = files.flat(model), files.flat(load(tmp_path, "fill-mask"))
    assert any(path.startswith("masked_lm_head") for path in found)
    assert all(np.array_equal(trained[path], values) for path, values in found.items())


def test_encoder_of_a_masked_lm_has_no_pooler(tmp_path):
    """Its checkpoint holds none; of pretraining's, the pooler is trained and comes along."""
    saved(tmp_path / "words", "MaskedLM")
    saved(tmp_path / "both", "PreTraining")
    assert tuple(outputs_of(load(tmp_path / "words", "feature-extraction"))) == ("last_hidden_state",)
    assert tuple(outputs_of(load(tmp_path / "both", "feature-extraction"))) == ("last_hidden_state", "pooler_output")


def test_google_s_release_names_no_task(repository):
    fixture = repository / "tests" / "flax_lite" / "checkpoints" / "sources" / "google_fixture" / "albert"
    with pytest.raises(ValueError, match="architectures: nothing, which is none of the tasks to export; name one"):
        choose_task(open_source(fixture).config, None)
    files.assert_same_parameters(load(fixture, "fill-mask"), tiny.MODELS["MaskedLM"].from_pretrained(fixture))


def test_parameters_have_the_compute_dtype(tmp_path):
    saved(tmp_path, "MaskedLM")
    model = load(tmp_path, "fill-mask", "bfloat16")
    assert {leaf.dtype for leaf in files.flat(model).values()} == {jnp.dtype("bfloat16")}
    assert model.execution.compute_dtype == jnp.bfloat16


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task 'translation' is not known; choose from feature-extraction, fill-mask"):
        choose_task(tiny.bert(), "translation")
