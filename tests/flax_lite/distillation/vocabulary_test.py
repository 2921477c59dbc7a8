"""Trimming of vocabularies: results of the trimmed model, and selection of ids."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import flax_lite as fl
from flax_lite.distillation.vocabulary import VOCABULARY_AXES, seen_ids, trim_config, trim_params
from flax_lite.models.params import get_params, num_parameters
from flax_lite.tokenization import trim_tokenizer
from tests.flax_lite import tiny
from tests.flax_lite.tokenization import tiny_files

# Rows 38 to 40 of the tables are padding.
KEPT = (0, 1, 2, 5, 6, 9, 14, 15, 22, 30, 31, 37)


def flat(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def trimmed(model, head, kept=KEPT):
    """Returns the model with the vocabulary rows of `kept` only."""
    smaller = tiny.make(head, trim_config(model.config, kept), seed=7)
    nnx.update(smaller, trim_params(get_params(model), kept))
    return smaller


@pytest.mark.parametrize(("family", "tied"), [("albert", True), ("bert", False), ("distilbert", True)])
def test_trimmed_model_has_the_same_hidden_states_and_logits(family, tied):
    """Exactly, not approximately: the encoder depends on ids only through their embedding rows, which are the same, and
    a logit is the product of its own row with the hidden state plus its own bias. A matrix product of another width may
    be summed in other blocks, hence 1e-6 for the logits.
    """
    model = tiny.make("MaskedLM", tiny.FAMILIES[family](tie_word_embeddings=tied, num_hidden_layers=1))
    smaller = trimmed(model, "MaskedLM")
    new_ids = np.random.default_rng(0).integers(0, len(KEPT), (tiny.BATCH, tiny.LENGTH))
    mask = np.arange(tiny.LENGTH) < np.array([[tiny.LENGTH], [tiny.LENGTH - 2]])
    ids = np.array(KEPT)[new_ids]
    expected = tiny.call(model, jnp.asarray(ids), jnp.asarray(mask), output_hidden_states=True)
    found = tiny.call(smaller, jnp.asarray(new_ids), jnp.asarray(mask), output_hidden_states=True)
    assert len(found.hidden_states) == 2
    for one, other in zip(found.hidden_states, expected.hidden_states, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.logits.shape == (tiny.BATCH, tiny.LENGTH, len(KEPT))
    np.testing.assert_allclose(found.logits, expected.logits[..., list(KEPT)], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "head", "tied"),
    [
        ("albert", "Encoder", True),
        ("albert", "PreTraining", False),
        ("albert", "MultipleChoice", True),
        ("bert", "PreTraining", True),
        ("bert", "MaskedLM", False),
        ("bert", "TokenClassification", True),
        ("distilbert", "MaskedLM", True),
        ("distilbert", "SequenceClassification", True),
        ("distilbert", "QuestionAnswering", False),
    ],
)
def test_trim_params_fits_every_model(family, head, tied):
    """Structure, shapes and dtypes equal those of a model created with the trimmed configuration."""
    config = tiny.FAMILIES[family](tie_word_embeddings=tied)
    params = get_params(tiny.make(head, config))
    smaller = nnx.eval_shape(lambda: tiny.MODELS[head](trim_config(config, KEPT), rngs=nnx.Rngs(0)))
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in flat(get_params(smaller)).items()}
    found = flat(trim_params(params, KEPT))
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in found.items()} == expected
    assert {name for name, leaf in flat(params).items() if found[name] is not leaf} <= VOCABULARY_AXES.keys()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_trim_params_takes_numpy_and_jax_arrays(array, dtype):
    table = np.arange(20).reshape(5, 4).astype(dtype)
    head = {"bias": array(table[:, 0]), "decoder": {"kernel": array(table.T)}}
    params = {"embeddings": {"word": {"embedding": array(table)}}, "masked_lm_head": head}
    found = flat(trim_params(params, [1, 4]))
    expected = {
        "embeddings/word/embedding": table[[1, 4]],
        "masked_lm_head/bias": table[[1, 4], 0],
        "masked_lm_head/decoder/kernel": table[[1, 4]].T,
    }
    assert found.keys() == expected.keys()
    for name, leaf in found.items():
        assert (type(leaf), leaf.dtype) == (type(params["embeddings"]["word"]["embedding"]), dtype)
        np.testing.assert_array_equal(np.asarray(leaf, np.float32), np.asarray(expected[name], np.float32))


def test_trim_params_refuses_invalid_ids_and_parameters():
    params = get_params(tiny.make("MaskedLM", tiny.bert()))
    with pytest.raises(ValueError, match="the id 41; there are 41 rows in encoder/embeddings/word/embedding, 0 to 40"):
        trim_params(params, [0, 41])
    with pytest.raises(ValueError, match="kept has 3 after 3; expected rising ids"):
        trim_params(params, [0, 3, 3])
    with pytest.raises(ValueError, match="no encoder/embeddings/word/embedding among params/encoder/embeddings"):
        trim_params({"params": params}, KEPT)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_trim_config_renumbers_its_ids(family, tmp_path):
    ids = {"bos_token_id": 5, "eos_token_id": 4, "sep_token_id": None, "other_token_id": "five", "layers": 5}
    config = dataclasses.replace(tiny.FAMILIES[family](pad_token_id=9), extra=ids)
    smaller = trim_config(config, KEPT)
    assert smaller == config.replace(vocab_size=12, pad_token_id=5)
    assert type(smaller) is type(config)
    assert smaller.extra == ids | {"bos_token_id": 3, "eos_token_id": None}
    assert config.extra["bos_token_id"] == 5
    assert trim_config(config.replace(pad_token_id=None), KEPT).pad_token_id is None


def test_trim_config_refuses_invalid_ids():
    with pytest.raises(ValueError, match="kept lacks pad_token_id=3; a model needs"):
        trim_config(tiny.bert(pad_token_id=3), KEPT)
    with pytest.raises(ValueError, match="kept has the id 41; there are 41 pieces"):
        trim_config(tiny.bert(), [0, 41])


def test_trimming_removes_the_rows_of_a_multilingual_student():
    """The parameter counts in the docstring of `flax_lite.distillation.vocabulary`."""
    config = fl.DistilBertConfig(vocab_size=119547)
    sizes = {}
    for each in (config, trim_config(config, range(20000))):
        abstract = nnx.eval_shape(lambda each=each: fl.Encoder(each, rngs=nnx.Rngs(0)))
        sizes[each.vocab_size] = num_parameters(get_params(abstract))
    assert sizes == {119547: 134_734_080, 20000: 134_734_080 - 768 * (119547 - 20000)}
    assert round(119547 * 768 / 1e6, 1) == 91.8


def test_seen_ids_are_frequent_ids_and_those_always_kept():
    counts = np.array([0, 0, 7, 1, 2, 0, 3])
    assert seen_ids(counts, [0, 1, 2]) == (0, 1, 2, 3, 4, 6)
    assert seen_ids(counts, [1, 0], min_count=2) == (0, 1, 2, 4, 6)
    assert seen_ids(counts, (), min_count=8) == ()
    assert seen_ids(np.arange(3000) % 1000 // 999, [2500, 7]) == (7, 999, 1999, 2500, 2999)
    assert {type(id_) for id_ in seen_ids(counts, [0])} == {int}
    for id_ in (7, -1):
        with pytest.raises(ValueError, match=f"always has the id {id_}; there are counts of 7 ids, 0 to 6"):
            seen_ids(counts, [0, id_])


def test_tokenizer_and_model_are_trimmed_to_the_same_ids(tmp_path):
    """From text to logits, through files: the pieces and rows of a text, for a model with a padded table."""
    tokenizer = fl.load_tokenizer(tiny_files.write_vocab(tmp_path))
    texts = ["the cat sat.", "unwanted cats - a b"]
    counts = np.bincount([id_ for ids in tokenizer.encode(texts) for id_ in ids], minlength=tokenizer.vocab_size)
    kept = seen_ids(counts, tokenizer.special_ids)
    assert len(kept) < tokenizer.vocab_size < tiny.SIZES["vocab_size"]
    model = tiny.make("MaskedLM", tiny.bert())
    trimmed(model, "MaskedLM", kept).save_pretrained(tmp_path / "trimmed")
    trim_tokenizer(tokenizer, kept).save(tmp_path / "trimmed")
    smaller, trimmed_tokenizer = (
        fl.MaskedLM.from_pretrained(tmp_path / "trimmed"),
        fl.load_tokenizer(tmp_path / "trimmed"),
    )
    assert smaller.config.vocab_size == trimmed_tokenizer.vocab_size == len(kept)
    rows, expected = (each(texts, max_length=10) for each in (trimmed_tokenizer, tokenizer))
    found = tiny.call(smaller, **{name: jnp.asarray(value) for name, value in rows.items()}).logits
    logits = tiny.call(model, **{name: jnp.asarray(value) for name, value in expected.items()}).logits
    np.testing.assert_allclose(found, logits[..., list(kept)], rtol=0, atol=1e-6)
