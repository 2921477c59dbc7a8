"""Labels of texts: what transformers' own pipeline makes of its Flax class's logits, and shapes of results."""

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
def test_scores_are_those_of_transformers(tmp_path, monkeypatch):
    """For each meaning of the labels that a config names."""
    cases.saved(tmp_path, TASK, **cases.USUAL[TASK])
    theirs = cases.Theirs(tmp_path, TASK, monkeypatch)
    postprocess = theirs.postprocessing("TextClassificationPipeline").postprocess
    for problem in (None, "regression", "multi_label_classification"):
        theirs.config.problem_type = problem
        pipe = cases.pipe(TASK, problem_type=problem)
        found = {name: pipe(INPUTS, **options) for name, options in (("best", {}), ("all", {"top_k": None}))}
        for place, given in enumerate(INPUTS):
            texts = given if isinstance(given, dict) else {"text": given}
            encoding = theirs.tokenizer(**texts, truncation=True, max_length=cases.LENGTH, return_token_type_ids=True)
            outputs = {"logits": [cases.tensor(theirs.outputs(encoding)["logits"])]}
            cases.assert_same(found["best"][place], postprocess(outputs))
            cases.assert_same(found["all"][place], postprocess(outputs, top_k=None, _legacy=False))


def test_function_is_chosen_by_the_user(pipe):
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
def test_other_inputs_are_refused_by_number(given, pipe):
    with pytest.raises(ValueError, match=r"input 1 is .*; text-classification takes a string or "):
        pipe(["the cat", given])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k=0; expected a number of labels from 1 on"),
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
        (cases.LENGTH, "its pairs have the second text first", "input 1 has two texts: the tokenizer cannot join two"),
        (3, "", "input 1 has no room for its text beside the specials in max_length=3"),
    ],
)
def test_a_pair_that_makes_no_row_does_not_lose_what_stands_before_it(max_length, problem, message, pipe, monkeypatch):
    """A row of specials alone would have a label like any other."""
    template = dataclasses.replace(pipe.tokenizer.template, pair_problem=problem)
    monkeypatch.setattr(pipe.tokenizer, "template", template)
    monkeypatch.setattr(pipe, "max_length", max_length)
    answered = pipe.stream(["a", PAIR, "a"])
    assert next(answered).keys() == {"label", "score"}
    with pytest.raises(InputError, match=message):
        next(answered)
