"""Only trained parameters are exported: a checkpoint without a head for the task, or with another one, is refused."""

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


# One family for each head; tests/flax_lite/checkpoints tests the other combinations.
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
def test_task_and_parameters_are_those_of_the_checkpoint(task, tmp_path):
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
def test_untrained_head_is_refused(head, task, tmp_path):
    saved(tmp_path, head)
    with pytest.raises(ValueError, match=rf"(?s)cannot be exported for {task}.*missing|no head for {task}"):
        load(tmp_path, task)


def test_masked_lm_head_of_pretraining_is_exported_on_request(tmp_path):
    model = saved(tmp_path, "PreTraining")
    config = open_source(tmp_path).config
    with pytest.raises(ValueError, match="architectures: BertForPreTraining, which does not name exactly one task"):
        choose_task(config, None)
    assert choose_task(config, "fill-mask").export == "fill-mask"
    trained, found = files.flat(model), files.flat(load(tmp_path, "fill-mask"))
    assert any(path.startswith("masked_lm_head") for path in found)
    assert all(np.array_equal(trained[path], values) for path, values in found.items())


def test_encoder_of_a_masked_lm_has_no_pooler(tmp_path):
    """Its checkpoint has none; a pretraining checkpoint has a trained pooler, which is exported."""
    saved(tmp_path / "words", "MaskedLM")
    saved(tmp_path / "both", "PreTraining")
    assert tuple(outputs_of(load(tmp_path / "words", "feature-extraction"))) == ("last_hidden_state",)
    assert tuple(outputs_of(load(tmp_path / "both", "feature-extraction"))) == ("last_hidden_state", "pooler_output")


def test_google_checkpoints_name_no_task(repository):
    fixture = repository / "tests" / "flax_lite" / "checkpoints" / "sources" / "google_fixture" / "albert"
    with pytest.raises(
        ValueError, match="architectures: nothing, which does not name exactly one task to export; give a task"
    ):
        choose_task(open_source(fixture).config, None)
    files.assert_same_parameters(load(fixture, "fill-mask"), tiny.MODELS["MaskedLM"].from_pretrained(fixture))


def test_parameters_have_the_compute_dtype(tmp_path):
    saved(tmp_path, "MaskedLM")
    model = load(tmp_path, "fill-mask", "bfloat16")
    assert {array.dtype for array in files.flat(model).values()} == {jnp.dtype("bfloat16")}
    assert model.execution.compute_dtype == jnp.bfloat16


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task 'translation' is not known; choose from feature-extraction, fill-mask"):
        choose_task(tiny.bert(), "translation")
