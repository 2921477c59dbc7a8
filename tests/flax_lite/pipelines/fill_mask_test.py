"""Pieces for masks: from logits of transformers' Flax classes by the documented rules."""

import numpy as np
import pytest
from scipy import special

import flax_lite as fl
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.pipelines import cases

ONE = ["the [MASK] sat", "[MASK]", "the unwanted [MASK], a's want. the cat sat the cat sat the cat"]
TWO = "the [MASK] [MASK] the cat"


def expected(theirs, text, count):
    """By the documentation of transformers' FillMaskPipeline, on its own tokenizer and logits."""
    encoding = theirs.tokenizer(text, truncation=True, max_length=cases.LENGTH, return_token_type_ids=True)
    ids, tokenizer = np.array(encoding["input_ids"]), theirs.tokenizer
    masks = np.flatnonzero(ids == tokenizer.mask_token_id)
    results = []
    for place in masks:
        everything = theirs.outputs(encoding)["logits"][place]
        logits, scores = everything[: len(tokenizer)], special.softmax(everything)
        row = []
        for id_ in np.argsort(-logits)[:count].tolist():
            filled = ids.copy()
            filled[place] = id_
            sequence = tokenizer.decode(filled, skip_special_tokens=len(masks) == 1)
            row.append({"score": scores[id_], "token": id_, "token_str": tokenizer.decode([id_]), "sequence": sequence})
        results.append(row)
    return results[0] if len(masks) == 1 else results


@pytest.mark.reference
@pytest.mark.parametrize(("family", "kind"), [("albert", "unigram"), ("bert", "wordpiece")])
def test_pieces_and_scores_are_those_of_transformers(family, kind, tmp_path, monkeypatch):
    pipe = cases.opened(tmp_path, "fill-mask", family, kind)
    theirs = cases.Theirs(tmp_path, "fill-mask", monkeypatch)
    texts = [*ONE, TWO]
    for text, found in zip(texts, pipe(texts), strict=True):
        cases.assert_same(found, expected(theirs, text, 5))
    cases.assert_same(pipe(ONE[0], top_k=9), expected(theirs, ONE[0], 9))


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe("fill-mask")


def test_pieces_are_chosen_from_targets(pipe):
    everything = pipe(ONE[0], top_k=22)
    assert len(everything) == 22
    named = {each["token_str"]: each for each in everything}
    targets = pipe(ONE[0], targets=["sat", "cat", "##s"])
    assert targets == sorted((named[name] for name in ("sat", "cat", "##s")), key=lambda each: -each["score"])
    assert pipe(ONE[0], targets="CAT") == [named["cat"]]
    with pytest.raises(ValueError, match=r"target 'unwanted' is 3 pieces \(un, ##want, ##ed\)"):
        pipe(ONE[0], targets=["unwanted"])


def test_a_mask_is_needed_and_must_fit(pipe):
    with pytest.raises(ValueError, match=r"input 1 has no \[MASK\]: 'the cat'"):
        pipe([ONE[0], "the cat"])
    room = cases.LENGTH - 2
    assert len(pipe("cat " * (room - 1) + "[MASK]")) == 5
    with pytest.raises(ValueError, match=f"it is token {room + 1} of {room} that fit into max_length={room + 2}"):
        pipe("cat " * room + "[MASK]")


def test_what_stands_behind_is_cut_and_said_once(pipe, caplog):
    text = "[MASK] " + "cat " * cases.LENGTH
    assert len(pipe([text, text])) == 2
    assert [record.message for record in caplog.records] == [
        "fill-mask: a text of 33 tokens is cut to the 30 that fit into max_length=32; further ones are not reported"
    ]


@pytest.mark.compat
def test_pretraining_model_fills_masks_too(tmp_path):
    """As it is, and read from its directory without its second head."""
    config = tiny.bert(max_position_embeddings=16, vocab_size=90, num_hidden_layers=1)
    model = files.saved(tmp_path, "PreTraining", config)
    cases.write_tokenizer(tmp_path)
    both = (
        fl.pipeline("fill-mask", model, tokenizer=tmp_path, batch_size=1),
        fl.pipeline("fill-mask", tmp_path, batch_size=1),
    )
    one, two = (pipe(ONE[0]) for pipe in both)
    cases.assert_same(one, two)


def test_options_are_checked(pipe):
    for options, message in (({"top_k": 0}, "top_k=0"), ({"targets": []}, "targets is empty")):
        with pytest.raises(ValueError, match=message):
            pipe(ONE[0], **options)
    with pytest.raises(TypeError, match="topk"):
        pipe(ONE[0], topk=3)


SEQUENCES = [
    ("the cat's [MASK], a ' b", "a", "the cat's a, a'b"),
    ("[MASK] ' s", "b", "b's"),
    ("the [PAD] [MASK]", "cat", "the cat"),
    # With several masks specials stay, but not padding, be it a prediction.
    ("the [PAD] [MASK] [MASK]", "cat", "[CLS] the cat [MASK] [SEP]"),
    ("the [MASK] [MASK]", "[PAD]", "[CLS] the [MASK] [SEP]"),
    ("the [MASK] [UNK] [MASK]", ",", "[CLS] the, [UNK] [MASK] [SEP]"),
]


@pytest.mark.reference
@pytest.mark.parametrize(("text", "target", "expected"), SEQUENCES)
def test_sequences_are_written_as_transformers_writes_them(text, target, expected, pipe, tmp_path):
    """With its tokenizer, by the lines of its FillMaskPipeline: ids without padding, decoded by its settings."""
    transformers = pytest.importorskip("transformers")
    pipe.tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = np.array(theirs(text)["input_ids"])
    masks = np.flatnonzero(ids == theirs.mask_token_id)
    ids[masks[0]] = theirs.convert_tokens_to_ids(target)
    assert theirs.decode(ids[ids != theirs.pad_token_id], skip_special_tokens=len(masks) == 1) == expected
    found = pipe(text, targets=target)
    assert (found if len(masks) == 1 else found[0])[0]["sequence"] == expected
