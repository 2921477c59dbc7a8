"""Feature extraction: nested lists and arrays of the hidden states that transformers' Flax class computes."""

import numpy as np
import pytest

from tests.flax_lite.pipelines import cases

TASK = "feature-extraction"


@pytest.mark.reference
def test_states_equal_those_of_transformers(tmp_path, monkeypatch):
    pipe = cases.opened(tmp_path, TASK)
    hf = cases.HuggingFace(tmp_path, TASK, monkeypatch)
    for text, found in zip(cases.TEXTS, pipe(cases.TEXTS), strict=True):
        encoding = hf.tokenizer(text, truncation=True, max_length=cases.LENGTH, return_token_type_ids=True)
        size = len(encoding["input_ids"])
        assert np.shape(found) == (1, size, 12)
        np.testing.assert_allclose(found[0], hf.outputs(encoding)["last_hidden_state"][:size], atol=1e-5)


def test_results_have_the_shapes_of_transformers():
    """A nested list [1, T, D] for a string, a list of them for a list; with `return_tensors`, arrays."""
    pipe = cases.pipe(TASK)
    one, (first, second) = pipe("the cat"), pipe(["the cat", "a"])
    assert isinstance(one[0][0][0], float)
    assert [len(each[0]) for each in (one, first, second)] == [4, 4, 3]
    cases.assert_same(one, first)
    array = pipe("the cat", return_tensors=True)
    assert (array.dtype, array.shape) == (np.float32, (1, 4, 12))
    assert array.tolist() == one
