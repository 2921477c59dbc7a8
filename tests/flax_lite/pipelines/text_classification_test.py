"""Text classification: results of transformers' own pipeline on its Flax class's logits, and shapes of results."""

import dataclasses

import numpy as np
import pytest

import flax_lite as fl
from flax_lite.pipelines.base import InputError
from tests.flax_lite.pipelines import cases

TASK = "text-classification"
INPUTS = [*cases.TEXTS, *({"text": text, "text_pair": text[::-1]} for text in cases.TEXTS[:2])]


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe(TASK)


@pytest.mark.reference
def test_scores_equal_those_of_transformers(tmp_path, monkeypatch):
    """For each problem type that a config may name."""
    cases.saved(tmp_path, TASK, **cases.DEFAULTS[TASK])
    hf = cases.HuggingFace(tmp_path, TASK, monkeypatch)
    postprocess = hf.postprocessing("TextClassificationPipeline").postprocess
    for problem in (None, "regression", "multi_label_classification"):
        hf.config.problem_type = problem
        pipe = cases.pipe(TASK, problem_type=problem)
        found = {name: pipe(INPUTS, **options) for name, options in (("best", {}), ("all", {"top_k": None}))}
        for index, given in enumerate(INPUTS):
            texts = given if isinstance(given, dict) else {"text": given}
            encoding = hf.tokenizer(**texts, truncation=True, max_length=cases.LENGTH, return_token_type_ids=True)
            outputs = {"logits": [cases.tensor(hf.outputs(encoding)["logits"])]}
            cases.assert_same(found["best"][index], postprocess(outputs))
            cases.assert_same(found["all"][index], postprocess(outputs, top_k=None, _legacy=False))


def test_function_to_apply_is_applied(pipe):
    logits, soft, sigmoid = (
        np.array([each["score"] for each in pipe("the cat", top_k=3, function_to_apply=name)])
        for name in ("none", "softmax", "sigmoid")
    )
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), soft, rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), sigmoid, rtol=1e-5)
    assert pipe("the cat", top_k=3) == pipe("the cat", top_k=3, function_to_apply="softmax")
    single = cases.pipe(TASK, labels=("it",))
    assert single("the cat") == single("the cat", function_to_apply="sigmoid")


@pytest.mark.compat
def test_results_have_the_shapes_of_transformers(pipe):
    assert [set(each) for each in pipe("the cat")] == [{"label", "score"}]
    assert set(pipe({"text": "the cat"})) == {"label", "score"}
    assert [set(each) for each in pipe(["the cat", {"text": "a", "text_pair": None}])] == [{"label", "score"}] * 2
    assert len(pipe("the cat", top_k=2)) == 2
    assert [len(each) for each in pipe(["the cat"], top_k=2)] == [2]
    assert [len(each) for each in pipe(["the cat"], top_k=None)] == [3]
    assert pipe("the cat", top_k=1) == pipe("the cat")


@pytest.mark.parametrize(
    "given",
    [3, {"text": 3}, {"text_pair": "a"}, {"text": None, "text_pair": None}, {"text": "a", "pair": "b"}, ["a", "b"]],
)
def test_invalid_inputs_are_refused_by_number(given, pipe):
    with pytest.raises(ValueError, match=r"input 1 is .*; text-classification takes a string or "):
        pipe(["the cat", given])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k=0; expected a whole number of labels, at least 1"),
        ({"top_k": "all"}, "top_k='all'; expected"),
        ({"function_to_apply": "exp"}, "function_to_apply='exp'; choose from softmax, sigmoid, none"),
    ],
)
def test_options_are_checked_before_the_model_runs(options, message, pipe):
    with pytest.raises(ValueError, match=message):
        fl.pipeline(TASK, pipe.model, tokenizer=pipe.tokenizer, **options)
    fresh = fl.pipeline(TASK, pipe.model, tokenizer=pipe.tokenizer)
    with pytest.raises(ValueError, match=message):
        fresh(["the cat"], **options)
    assert fresh.compiled == ()


PAIR = {"text": "the cat", "text_pair": "a"}


@pytest.mark.parametrize(
    ("max_length", "problem", "message"),
    [
        (cases.LENGTH, "its rows have the second text first", "input 1 has two texts: the tokenizer cannot join two"),
        (3, "", "input 1 has no room for its text next to the special tokens in max_length=3"),
    ],
)
def test_a_pair_without_a_row_is_an_error_after_the_results_before_it(max_length, problem, message, pipe, monkeypatch):
    """A row of special tokens alone would have a label like any other."""
    template = dataclasses.replace(pipe.tokenizer.template, pair_problem=problem)
    monkeypatch.setattr(pipe.tokenizer, "template", template)
    monkeypatch.setattr(pipe, "max_length", max_length)
    results = pipe.stream(["a", PAIR, "a"])
    assert next(results).keys() == {"label", "score"}
    with pytest.raises(InputError, match=message):
        next(results)
