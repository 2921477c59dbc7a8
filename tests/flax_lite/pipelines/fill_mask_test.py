"""Fill-mask: results computed from logits of transformers' Flax classes by the documented rules."""

import numpy as np
import pytest
from scipy import special

import flax_lite as fl
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.pipelines import cases

ONE = ["the [MASK] sat", "[MASK]", "the unwanted [MASK], a's want. the cat sat the cat sat the cat"]
TWO = "the [MASK] [MASK] the cat"


def expected(hf, text, count):
    """Returns the results by the documentation of transformers' FillMaskPipeline, with its tokenizer and logits."""
    encoding = hf.tokenizer(text, truncation=True, max_length=cases.LENGTH, return_token_type_ids=True)
    ids, tokenizer = np.array(encoding["input_ids"]), hf.tokenizer
    masks = np.flatnonzero(ids == tokenizer.mask_token_id)
    results = []
    for position in masks:
        all_logits = hf.outputs(encoding)["logits"][position]
        logits, scores = all_logits[: len(tokenizer)], special.softmax(all_logits)
        row = []
        for id_ in np.argsort(-logits)[:count].tolist():
            filled = ids.copy()
            filled[position] = id_
            sequence = tokenizer.decode(filled, skip_special_tokens=len(masks) == 1)
            row.append({"score": scores[id_], "token": id_, "token_str": tokenizer.decode([id_]), "sequence": sequence})
        results.append(row)
    return results[0] if len(masks) == 1 else results


@pytest.mark.reference
@pytest.mark.parametrize(("family", "kind"), [("albert", "unigram"), ("bert", "wordpiece")])
def test_results_equal_those_of_transformers(family, kind, tmp_path, monkeypatch):
    pipe = cases.opened(tmp_path, "fill-mask", family, kind)
    hf = cases.HuggingFace(tmp_path, "fill-mask", monkeypatch)
    texts = [*ONE, TWO]
    for text, found in zip(texts, pipe(texts), strict=True):
        cases.assert_same(found, expected(hf, text, 5))
    cases.assert_same(pipe(ONE[0], top_k=9), expected(hf, ONE[0], 9))


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe("fill-mask")


def test_tokens_are_chosen_from_targets(pipe):
    results = pipe(ONE[0], top_k=22)
    assert len(results) == 22
    by_token = {result["token_str"]: result for result in results}
    targets = pipe(ONE[0], targets=["sat", "cat", "##s"])
    assert targets == sorted((by_token[name] for name in ("sat", "cat", "##s")), key=lambda result: -result["score"])
    assert pipe(ONE[0], targets="CAT") == [by_token["cat"]]
    with pytest.raises(ValueError, match=r"target 'unwanted' is 3 tokens \(un, ##want, ##ed\)"):
        pipe(ONE[0], targets=["unwanted"])


def test_a_mask_is_needed_and_must_fit(pipe):
    with pytest.raises(ValueError, match=r"input 1 has no \[MASK\]: 'the cat'"):
        pipe([ONE[0], "the cat"])
    room = cases.LENGTH - 2
    assert len(pipe("cat " * (room - 1) + "[MASK]")) == 5
    with pytest.raises(ValueError, match=f"it is token {room + 1}, and {room} fit into max_length={room + 2}"):
        pipe("cat " * room + "[MASK]")


def test_a_long_text_is_truncated_with_one_warning(pipe, caplog):
    text = "[MASK] " + "cat " * cases.LENGTH
    assert len(pipe([text, text])) == 2
    (record,) = caplog.records
    assert record.message.startswith(
        "fill-mask: a text of 33 tokens is truncated to the 30 that fit into max_length=32;"
    )


@pytest.mark.compat
def test_pretraining_model_fills_masks_too(tmp_path):
    """As a model object, and loaded from its directory without its second head."""
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
    # With several masks special tokens are kept, except padding, even if it is predicted.
    ("the [PAD] [MASK] [MASK]", "cat", "[CLS] the cat [MASK] [SEP]"),
    ("the [MASK] [MASK]", "[PAD]", "[CLS] the [MASK] [SEP]"),
    ("the [MASK] [UNK] [MASK]", ",", "[CLS] the, [UNK] [MASK] [SEP]"),
]


@pytest.mark.reference
@pytest.mark.parametrize(("text", "target", "expected"), SEQUENCES)
def test_sequences_equal_those_of_transformers(text, target, expected, pipe, tmp_path):
    """With its tokenizer, as in its FillMaskPipeline: ids without padding, decoded with the tokenizer's settings."""
    transformers = pytest.importorskip("transformers")
    pipe.tokenizer.save(tmp_path)
    hf = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = np.array(hf(text)["input_ids"])
    masks = np.flatnonzero(ids == hf.mask_token_id)
    ids[masks[0]] = hf.convert_tokens_to_ids(target)
    assert hf.decode(ids[ids != hf.pad_token_id], skip_special_tokens=len(masks) == 1) == expected
    found = pipe(text, targets=target)
    assert (found if len(masks) == 1 else found[0])[0]["sequence"] == expected
