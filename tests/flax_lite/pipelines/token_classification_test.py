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
        # Theirs makes a word of its own of a "▁" alone, which training reads as the beginning of the one behind it.
        has_marks = kind == "unigram" and pipe.tokenizer.pieces.index("▁") in encoding["input_ids"]
        for strategy in STRATEGIES[:2] if has_marks else STRATEGIES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it knows words by spaces only
                expected = pipeline.postprocess([outputs], strategies[strategy.upper()], ["O"])
            found = pipe(text, aggregation_strategy=strategy)
            if kind == "unigram":
                # Theirs decodes words a second time when it joins them, and so loses the spaces between them.
                spelled = [(each["word"], text[each["start"] : each["end"]].lower()) for each in found]
                assert strategy == "none" or all(word.split() == part.split() for word, part in spelled)
                expected = [each | {"word": ours["word"]} for each, ours in zip(expected, found, strict=True)]
            cases.assert_same(found, expected)
            assert all(type(each["start"]) is int and type(each["score"]) is float for each in found)
            count += len(found)
    assert count > 100


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe("token-classification")


# Texts of ALBERT, and the words that are read; a "▁" alone begins those whose first character has no piece with it.
MARKED = [
    ("cat -a", ["cat", "-a"]),
    ("-a", ["-a"]),
    ("the\t (cat)  'cat' ñ", ["the", "(cat)", "'cat'", "ñ"]),
    ("日本 a日b the", ["日本", "a日b", "the"]),
    ("½ the", ["½", "the"]),
    ("a\u200bb\u00a0cat", ["a\u200bb", "cat"]),
    ("the [SEP]-a cat[SEP]-a", ["the", "-a", "cat[SEP]-a"]),
    ("cat " * 29 + "-a", ["cat"] * 29),  # cut behind the "▁" of the last word
]


@pytest.mark.parametrize(("text", "words"), MARKED)
def test_words_of_albert_are_read_as_training_reads_them(text, words, marked, monkeypatch):
    """At the first piece of what stands between spaces, be it a "▁" alone; and they begin at their characters.

    The label of a piece is its number; a word's is that of its first one in a text that is split at spaces first.
    """
    run = marked._programs
    labels = np.eye(cases.LENGTH, dtype=np.float32)

    def by_place(rows):
        yield from ((number, {"logits": 99 * labels[: len(rows[number].tokens)]}) for number, _ in run(rows))

    monkeypatch.setattr(marked, "_programs", by_place)
    found = marked(text, aggregation_strategy="first")
    assert [text[each["start"] : each["end"]] for each in found] == words
    sizes = [len(ids) for ids in marked.tokenizer.encode(text.split())]
    firsts = np.cumsum([1, *sizes])[: len(words)].tolist()
    specials = [
        place for place, id_ in enumerate(marked.tokenizer.encode([text])[0], 1) if id_ == marked.tokenizer.sep_id
    ]
    assert [each["entity_group"] for each in found] == [f"{first + (first in specials)}" for first in firsts]
    for strategy in ("average", "max"):
        same = marked(text, aggregation_strategy=strategy)
        assert [(each["start"], each["end"]) for each in same] == [(each["start"], each["end"]) for each in found]


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Of an ALBERT, with as many labels as places."""
    directory = tmp_path_factory.mktemp("marked")
    labels = tuple(map(str, range(cases.LENGTH)))
    return cases.opened(directory, "token-classification", "albert", "unigram", labels=labels)


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
