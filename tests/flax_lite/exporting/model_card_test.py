"""Model cards: metadata that the hub's own library parses, and usage examples that run."""

import re

import pytest
from huggingface_hub import ModelCard

from flax_lite.exporting.model_card import Score, model_card
from tests.flax_lite.pipelines import cases

FACTS = {
    "task": "text-classification",
    "description": "Says whether a sentence is praise.",
    "license": "apache-2.0",
    "language": ["en"],
    "tags": ["distillation", "jax"],
    "base_model": "albert/albert-base-v2",
    "datasets": ["stanfordnlp/sst2"],
    "scores": [Score(metric="accuracy", value=0.91234, dataset="SST-2", dataset_id="stanfordnlp/sst2")],
    "settings": {"learning rate": 2e-05, "mix": "a | b\nc"},
    "command": "python -m train.finetune --config configs/glue.py:sst2",
}


def test_metadata_survives_a_round_trip():
    card = ModelCard(model_card("owner/praise", **FACTS))
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-classification")
    assert data.tags == ["flax_lite", "jax", "distillation"]
    assert (data.base_model, data.datasets, data.metrics) == (FACTS["base_model"], FACTS["datasets"], ["accuracy"])
    (result,) = data.eval_results
    assert (result.dataset_type, result.metric_type, result.metric_value) == ("stanfordnlp/sst2", "accuracy", 0.91234)
    assert "| SST-2 | dev | accuracy | 0.9123 |" in card.text
    assert "| learning rate | 2e-05 |" in card.text
    assert r"| mix | a \| b c |" in card.text
    assert FACTS["command"] in card.text


def test_unknown_facts_are_left_out():
    text = model_card("owner/plain")
    for word in ("license", "datasets", "metrics", "base_model", "pipeline_tag", "model-index", "Results", "Training"):
        assert word not in text
    assert ModelCard(text).data.tags == ["flax_lite", "jax"]


def test_values_are_escaped():
    """Colons, quotes and line ends stay in their value."""
    data = ModelCard(model_card("a", base_model="x: y\nlicense: mit", tags=["'", "- b", "no"])).data
    assert (data.base_model, data.license) == ("x: y\nlicense: mit", None)
    assert data.tags == ["flax_lite", "jax", "'", "- b", "no"]


@pytest.mark.parametrize("task", ["fill-mask", "question-answering", "sentence-embedding", None])
def test_usage_runs(task, tmp_path, capsys):
    directory = cases.saved(tmp_path / "model", task or "sentence-embedding")
    code = re.search(r"```python\n(.*?)```", model_card(str(directory), task=task), re.DOTALL)
    assert code is not None
    exec(code[1], {})
    assert bool(capsys.readouterr().out) is (task is not None)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="needs the name"):
        model_card(" ")
    with pytest.raises(ValueError, match=r"task 'ner' is not known; choose from .*fill-mask"):
        model_card("a", task="ner")
