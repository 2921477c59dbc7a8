"""Token classification: results of transformers' own pipeline on its Flax class's logits."""

import warnings

import numpy as np
import pytest

import flax_lite as fl
from flax_lite.pipelines.token_classification import STRATEGIES
from tests.flax_lite import tiny
from tests.flax_lite.pipelines import cases


@pytest.mark.reference
@pytest.mark.parametrize(("family", "kind"), [("albert", "unigram"), ("distilbert", "wordpiece")])
def test_entities_equal_those_of_transformers(family, kind, tmp_path, monkeypatch):
    pipe = cases.opened(tmp_path, "token-classification", family, kind, labels=cases.TAGS)
    hf = cases.HuggingFace(tmp_path, "token-classification", monkeypatch)
    pipeline = hf.postprocessing("TokenClassificationPipeline")
    strategies = pipeline.postprocess.__globals__["AggregationStrategy"]
    count = 0
    for text in cases.TEXTS:
        encoding = hf.tokenizer(
            text,
            truncation=True,
            max_length=cases.LENGTH,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_token_type_ids=True,
        )
        size = len(encoding["input_ids"])
        outputs = {
            "logits": [cases.tensor(hf.outputs(encoding)["logits"][:size])],
            "input_ids": [encoding["input_ids"]],
            "sentence": text,
            # transformers includes the space before a SentencePiece token in its span.
            "offset_mapping": [
                [(start + (text[start : start + 1] == " "), end) for start, end in encoding["offset_mapping"]]
            ],
            "special_tokens_mask": [cases.tensor(encoding["special_tokens_mask"])],
        }
        # For transformers a single "▁" is a separate word; in training it is the start of the next word.
        has_single_space = kind == "unigram" and pipe.tokenizer.pieces.index("▁") in encoding["input_ids"]
        for strategy in STRATEGIES[:2] if has_single_space else STRATEGIES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about words that are separated only by spaces
                expected = pipeline.postprocess([outputs], strategies[strategy.upper()], ["O"])
            found = pipe(text, aggregation_strategy=strategy)
            if kind == "unigram":
                # transformers decodes words again when it joins them, which removes the spaces between them.
                words = [(entity["word"], text[entity["start"] : entity["end"]].lower()) for entity in found]
                assert strategy == "none" or all(word.split() == part.split() for word, part in words)
                expected = [entity | {"word": own["word"]} for entity, own in zip(expected, found, strict=True)]
            cases.assert_same(found, expected)
            assert all(type(entity["start"]) is int and type(entity["score"]) is float for entity in found)
            count += len(found)
    assert count > 100


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe("token-classification")


# Texts for ALBERT with their words; a word starts with a single "▁" if no piece has "▁" with its first character.
WORDS = [
    ("cat -a", ["cat", "-a"]),
    ("-a", ["-a"]),
    ("the\t (cat)  'cat' ñ", ["the", "(cat)", "'cat'", "ñ"]),
    ("日本 a日b the", ["日本", "a日b", "the"]),
    ("½ the", ["½", "the"]),
    ("a\u200bb\u00a0cat", ["a\u200bb", "cat"]),
    ("the [SEP]-a cat[SEP]-a", ["the", "-a", "cat[SEP]-a"]),
    ("cat " * 29 + "-a", ["cat"] * 29),  # truncated after the "▁" of the last word
]


@pytest.mark.parametrize(("text", "words"), WORDS)
def test_words_of_albert_are_those_of_training(text, words, albert, monkeypatch):
    """A word has the label of its first piece, even a single "▁", and starts at its first character.

    The label of a token is its position; a word's expected label is the position of its first token when the text is
    split at white space first.
    """
    run = albert._programs
    labels = np.eye(cases.LENGTH, dtype=np.float32)

    def label_by_position(rows, sizes):
        yield from ((number, {"logits": 99 * labels[: len(rows[number].tokens)]}) for number, _ in run(rows, sizes))

    monkeypatch.setattr(albert, "_programs", label_by_position)
    found = albert(text, aggregation_strategy="first")
    assert [text[entity["start"] : entity["end"]] for entity in found] == words
    sizes = [len(ids) for ids in albert.tokenizer.encode(text.split())]
    firsts = np.cumsum([1, *sizes])[: len(words)].tolist()
    specials = [
        position for position, id_ in enumerate(albert.tokenizer.encode([text])[0], 1) if id_ == albert.tokenizer.sep_id
    ]
    assert [entity["entity_group"] for entity in found] == [f"{first + (first in specials)}" for first in firsts]
    spans = [(entity["start"], entity["end"]) for entity in found]
    for strategy in ("average", "max"):
        assert [(each["start"], each["end"]) for each in albert(text, aggregation_strategy=strategy)] == spans


@pytest.fixture(scope="module")
def albert(tmp_path_factory):
    """A pipeline on an ALBERT with one label for each position."""
    directory = tmp_path_factory.mktemp("albert")
    labels = tuple(map(str, range(cases.LENGTH)))
    return cases.opened(directory, "token-classification", "albert", "unigram", labels=labels)


@pytest.mark.compat
def test_spans_of_words_cover_the_text(pipe):
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


def test_model_of_another_task_is_refused(tmp_path):
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
