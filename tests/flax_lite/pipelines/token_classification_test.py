"""Labels of tokens and entities: what transformers' own pipeline makes of its Flax class's logits."""

import warnings

import numpy as np
import pytest

import flax_lite as fl
from flax_lite.pipelines.token_classification import STRATEGIES
from tests.flax_lite import tiny
from tests.flax_lite.pipelines import cases


@pytest.mark.reference
@pytest.mark.parametrize(("family", "kind"), [("albert", "unigram"), ("distilbert", "wordpiece")])
def test_entities_are_those_of_transformers(family, kind, tmp_path, monkeypatch):
    pipe = cases.opened(tmp_path, "token-classification", family, kind, labels=cases.TAGS)
    theirs = cases.Theirs(tmp_path, "token-classification", monkeypatch)
    pipeline = theirs.postprocessing("TokenClassificationPipeline")
    strategies = pipeline.postprocess.__globals__["AggregationStrategy"]
    count = 0
    for text in cases.TEXTS:
        encoding = theirs.tokenizer(
            text,
            truncation=True,
            max_length=cases.LENGTH,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_token_type_ids=True,
        )
        size = len(encoding["input_ids"])
        outputs = {
            "logits": [cases.tensor(theirs.outputs(encoding)["logits"][:size])],
            "input_ids": [encoding["input_ids"]],
            "sentence": text,
            # Theirs counts the space before a SentencePiece token with it.
            "offset_mapping": [
                [(start + (text[start : start + 1] == " "), end) for start, end in encoding["offset_mapping"]]
            ],
            "special_tokens_mask": [cases.tensor(encoding["special_tokens_mask"])],
        }
        for strategy in STRATEGIES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it knows words by spaces only
                expected = pipeline.postprocess([outputs], strategies[strategy.upper()], ["O"])
            found = pipe(text, aggregation_strategy=strategy)
            if kind == "unigram":
                # Theirs decodes words a second time when it joins them, and so loses the spaces between them.
                spelt = [(each["word"], text[each["start"] : each["end"]].lower()) for each in found]
                assert strategy == "none" or all(word.split() == part.split() for word, part in spelt)
                expected = [each | {"word": ours["word"]} for each, ours in zip(expected, found, strict=True)]
            cases.assert_same(found, expected)
            assert all(type(each["start"]) is int and type(each["score"]) is float for each in found)
            count += len(found)
    assert count > 100


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe("token-classification")


@pytest.mark.compat
def test_words_stand_where_they_are_said_to(pipe):
    text = "  The   cat,\tWANTED the cats!"
    found = pipe(text, aggregation_strategy="first", ignore_labels=())
    assert "".join(text[each["start"] : each["end"]].replace(" ", "").replace("\t", "") for each in found) == (
        "Thecat,WANTEDthecats!"
    )


def test_empty_texts_have_no_entities(pipe):
    assert pipe(["", " "]) == [[], []]
    assert pipe(["", " "], aggregation_strategy="max") == [[], []]
    assert pipe([]) == []


def test_options_are_checked(pipe):
    with pytest.raises(ValueError, match="aggregation_strategy='mean' is not known; choose from none, simple"):
        pipe("the cat", aggregation_strategy="mean")
    with pytest.raises(ValueError, match="ignore_labels='O' is one string"):
        pipe("the cat", ignore_labels="O")


def test_model_of_another_task_with_a_head_of_that_name_is_refused(tmp_path):
    directory = cases.saved(tmp_path, "text-classification", "distilbert")
    with pytest.raises(ValueError, match="cannot be used for token-classification: it is a model of another task"):
        fl.pipeline("token-classification", directory)
    with pytest.raises(ValueError, match="cannot be used for fill-mask: it is a model without masked_lm_head"):
        fl.pipeline("fill-mask", directory)


def test_scores_are_probabilities(pipe):
    model, text = pipe.model, "the cat"
    batch = pipe.tokenizer([text], max_length=4)
    logits = np.asarray(tiny.call(model, **batch).logits)[0, 1:3]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = pipe(text, ignore_labels=())
    np.testing.assert_allclose([each["score"] for each in found], expected.max(-1), rtol=1e-5)
    assert [each["entity"] for each in found] == [cases.TAGS[index] for index in expected.argmax(-1)]
