"""The task models: shapes, values of each head, and the absence of arrays over B * T * V in pretraining."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flax_lite.layers.execution import Execution
from flax_lite.models.heads import PreTraining
from flax_lite.models.params import get_params
from tests.flax_lite import jaxprs, tiny
from tests.flax_lite.formulas import GELU, as_float64, dense, norm

POSITIONS = jnp.asarray([[1, 3, 6, 0, 3], [5, 2, 0, 0, 0]])
MASKED_LM_FIELD = {"PreTraining": "prediction_logits", "MaskedLM": "logits"}
MASKED_LM = [(family, model) for family, model in tiny.FAMILY_AND_HEAD if model in MASKED_LM_FIELD]
B, T, D, V = tiny.BATCH, tiny.LENGTH, 12, 41


def expected_shapes(family, model):
    sentence = "sop_logits" if family == "albert" else "seq_relationship_logits"
    return {
        "Encoder": {
            "last_hidden_state": (B, T, D),
            "embedding_output": (B, T, D),
            **({} if family == "distilbert" else {"pooler_output": (B, D)}),
        },
        "PreTraining": {"prediction_logits": (B, T, V), sentence: (B, 2)},
        "MaskedLM": {"logits": (B, T, V)},
        "SequenceClassification": {"logits": (B, 3)},
        "TokenClassification": {"logits": (B, T, 3)},
        "QuestionAnswering": {"start_logits": (B, T), "end_logits": (B, T)},
        "MultipleChoice": {"logits": (B, 4)},
    }[model]


def fields(output):
    """Returns the fields of an output by name."""
    return {name: value for name, value in vars(output).items() if value is not None and name != "captured"}


# Every model of one family, and those that differ in another family.
MODELS = [
    *(("bert", model) for model in tiny.MODELS),
    *(("albert", model) for model in ("Encoder", "PreTraining", "MaskedLM")),
    *(("distilbert", model) for model in ("Encoder", "MaskedLM", "SequenceClassification", "MultipleChoice")),
]


@pytest.mark.parametrize(("family", "model"), MODELS)
def test_output_fields(family, model):
    """Only the fields of the family; logits are float32 even if the encoder computes in bfloat16."""
    config = tiny.FAMILIES[family](labels=("a", "b", "c"))
    created = tiny.make(model, config, execution=Execution(dtype="bfloat16"))
    out = jax.eval_shape(lambda model, ids: model(ids), created, tiny.inputs_of(model, config))
    found = fields(out)
    assert {name: value.shape for name, value in found.items()} == expected_shapes(family, model)
    assert {value.dtype for name, value in found.items() if "logits" in name} <= {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("model", tiny.MODELS)
def test_every_model_returns_captures_of_its_encoder(model):
    config = tiny.bert()
    created, ids = tiny.make(model, config), tiny.inputs_of(model, config)
    rows = ids.size // T
    out = jax.eval_shape(
        lambda model, ids: model(
            ids, output_hidden_states=True, output_attentions=True, capture=("keys",), capture_layers=(-1,)
        ),
        created,
        ids,
    )
    assert out.hidden_states.shape == (4, rows, T, D)
    assert out.attentions.shape == (3, rows, 3, T, T)
    assert out.captured["keys"].shape == (1, rows, T, 3, 4)


@pytest.mark.parametrize(("family", "model"), tiny.FAMILY_AND_HEAD)
def test_pooler_exists_only_where_it_is_used(family, model):
    params = get_params(tiny.make(model, tiny.FAMILIES[family]()))
    encoder = params if model == "Encoder" else params["encoder"]
    uses = model in ("Encoder", "PreTraining", "SequenceClassification", "MultipleChoice")
    assert ("pooler" in encoder) == (uses and family != "distilbert")
    assert ("pre_classifier" in params) == (
        family == "distilbert" and model in ("SequenceClassification", "MultipleChoice")
    )


def run(family, model):
    """A model of one layer, its input, and its output with the encoder's hidden states."""
    config = tiny.FAMILIES[family](labels=("a", "b", "c"), num_hidden_layers=1)
    created, ids = tiny.make(model, config), tiny.inputs_of(model, config)
    return created, ids, tiny.call(created, ids, output_hidden_states=True)


@pytest.mark.parametrize(("family", "model"), [pair for pair in MODELS if pair[1] != "Encoder"])
def test_head_equals_the_formula(family, model):
    """Each head on the encoder's output, in float64; rounding of a few sums of 12 terms is below 1e-5."""
    created, _, out = run(family, model)
    params = as_float64(get_params(created))
    hidden = np.asarray(out.hidden_states[-1], np.float64)
    if "pooler" in params["encoder"]:
        pooled = np.tanh(dense(params["encoder"]["pooler"], hidden[:, 0]))
    elif "pre_classifier" in params:
        pooled = np.maximum(dense(params["pre_classifier"], hidden[:, 0]), 0)
    else:
        pooled = None
    expected = {}
    if "masked_lm_head" in params:
        head = params["masked_lm_head"]
        x = norm(head["layer_norm"], np.vectorize(GELU[created.config.hidden_act])(dense(head["dense"], hidden)))
        expected[MASKED_LM_FIELD[model]] = x @ params["encoder"]["embeddings"]["word"]["embedding"].T + head["bias"]
    if "sentence_head" in params:
        sentence = "sop_logits" if family == "albert" else "seq_relationship_logits"
        expected[sentence] = dense(params["sentence_head"], pooled)
    if "classifier" in params:
        logits = dense(params["classifier"], hidden if model == "TokenClassification" else pooled)
        expected["logits"] = logits.reshape(B, 4) if model == "MultipleChoice" else logits
    if "qa_outputs" in params:
        logits = dense(params["qa_outputs"], hidden)
        expected |= {"start_logits": logits[..., 0], "end_logits": logits[..., 1]}
    found = fields(out)
    assert set(found) == {*expected, "hidden_states"}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, rtol=0)


def test_multiple_choice_scores_choices_independently():
    """A question's choices scored together equal each choice scored separately."""
    config = tiny.bert(num_hidden_layers=1)
    model, ids = tiny.make("MultipleChoice", config), tiny.token_ids(config, choices=4)
    mask = jnp.ones_like(ids).at[:, 1, 5:].set(0)
    types = jnp.zeros_like(ids).at[:, :, 3:].set(1)
    all_choices = tiny.call(model, ids, mask, types).logits
    for choice in range(4):
        one = slice(choice, choice + 1)
        single = tiny.call(model, ids[:, one], mask[:, one], types[:, one]).logits
        np.testing.assert_allclose(single[:, 0], all_choices[:, choice], atol=5e-6, rtol=0)


@pytest.mark.parametrize(("family", "model"), MASKED_LM)
def test_masked_positions_select_from_the_full_logits(family, model):
    """The head acts on single tokens, so gathering before it equals gathering after it; positions may repeat."""
    created, ids, out = run(family, model)
    field = MASKED_LM_FIELD[model]
    some = getattr(tiny.call(created, ids, masked_positions=POSITIONS), field)
    assert some.shape == (B, 5, V)
    full = np.asarray(getattr(out, field))
    np.testing.assert_allclose(some, np.take_along_axis(full, np.asarray(POSITIONS)[:, :, None], 1), atol=5e-6, rtol=0)


def largest_of_gradient(family, model, **kwargs):
    """Returns the largest array of a masked LM's gradient program; other arrays are far below B*T*V for V = 1000."""
    config = tiny.FAMILIES[family](vocab_size=1000, num_hidden_layers=1)
    created, ids, key = tiny.make(model, config), tiny.token_ids(config), jax.random.key(0)
    gradient = jax.grad(lambda created: tiny.scalar(created(ids, key=key, **kwargs)))
    return jaxprs.largest_intermediates(jaxprs.trace(gradient, created))[0]


@pytest.mark.parametrize(
    ("family", "model"), [("albert", "PreTraining"), ("bert", "MaskedLM"), ("distilbert", "MaskedLM")]
)
def test_no_intermediate_over_the_whole_vocabulary(family, model):
    """With masked positions neither the forward nor the backward pass has an array of B*T*V elements in any shape."""
    found = largest_of_gradient(family, model, masked_positions=POSITIONS)
    assert found.elements < B * T * 1000, found


def test_intermediate_over_the_whole_vocabulary_is_detected():
    """Without masked positions there is one, so the search can find it."""
    assert largest_of_gradient("bert", "MaskedLM").elements >= B * T * 1000


def test_tied_table_gets_both_gradients():
    """d/dW f(W, W) is the sum of the derivatives of the two uses, each with the other use constant."""
    config = tiny.albert(num_hidden_layers=1)
    model, ids = tiny.make("MaskedLM", config), tiny.token_ids(config)
    table = get_params(model)["encoder"]["embeddings"]["word"]["embedding"]

    @jax.jit
    def gradients(model, table):
        def loss(lookup, decoder):
            changed = nnx.clone(model)
            changed.encoder.embeddings.word.embedding[...] = lookup
            hidden = changed.encoder(ids).last_hidden_state
            return tiny.scalar(changed.masked_lm_head(hidden, decoder))

        whole = jax.grad(lambda model: tiny.scalar(model(ids)))(model)
        return get_params(whole)["encoder"]["embeddings"]["word"]["embedding"], *jax.grad(loss, (0, 1))(table, table)

    both, lookup, decoder = gradients(model, table)
    assert min(np.abs(lookup).max(), np.abs(decoder).max()) > 1e-3
    np.testing.assert_allclose(both, lookup + decoder, atol=1e-6 * np.abs(both).max(), rtol=0)


def test_untied_decoder_is_used():
    """An untied decoder has its own kernel [E, V], which the output depends on."""
    config = tiny.albert(tie_word_embeddings=False, num_hidden_layers=1)
    model, ids = tiny.make("MaskedLM", config), tiny.token_ids(config)
    decoder = get_params(model)["masked_lm_head"]["decoder"]
    assert {name: leaf.shape for name, leaf in decoder.items()} == {"kernel": (config.embedding_size, V)}
    before = tiny.call(model, ids).logits
    bias = get_params(model)["masked_lm_head"]["bias"]
    model.masked_lm_head.decoder.kernel[...] = 2 * decoder["kernel"]
    np.testing.assert_allclose(tiny.call(model, ids).logits - bias, 2 * (before - bias), atol=1e-5)


def test_pretraining_needs_a_sentence_task():
    with pytest.raises(ValueError, match=r"distilbert.*MaskedLM.*ALBERT or BERT"):
        PreTraining(tiny.distilbert(), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("model", ["SequenceClassification", "TokenClassification", "QuestionAnswering"])
def test_masked_positions_are_refused_by_other_heads(model):
    config = tiny.bert()
    with pytest.raises(ValueError, match=rf"{model}.*masked_positions.*PreTraining and MaskedLM"):
        tiny.make(model, config)(tiny.token_ids(config), masked_positions=POSITIONS)


def test_pooled_head_reads_the_first_token_only():
    """Other tokens affect a pooled classifier through attention only, which segment ids exclude here."""
    config = tiny.distilbert()
    model, ids = tiny.make("SequenceClassification", config), tiny.token_ids(config)
    segments = jnp.broadcast_to(jnp.asarray([1, 2, 2, 2, 2, 2, 2]), ids.shape)
    before = tiny.call(model, ids, segment_ids=segments).logits
    after = tiny.call(model, ids.at[:, 1:].set(3), segment_ids=segments).logits
    np.testing.assert_array_equal(before, after)
