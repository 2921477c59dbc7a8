"""The beam head against its formulas in NumPy: training and inference, losses, what may answer at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.beam_answers import BeamQuestionAnswering, answer_tokens, beam_objective
from flax_lite.execution import Execution
from flax_lite.state import get_params
from flax_lite.training import averages
from tests.flax_lite import tiny
from tests.flax_lite.formulas import as_float64, dense, norm

LENGTH = 12
# [CLS] q [SEP] c c c c c [SEP] and padding; a full row; one whose context is a single token.
REAL = (9, LENGTH, 8)
SECOND = (3, 5, 6)
CONTEXTS = (range(3, 8), range(5, LENGTH - 1), range(6, 7))


@pytest.fixture(scope="module")
def model():
    return tiny.make(BeamQuestionAnswering, tiny.albert())


def rows(config):
    """Inputs of three rows."""
    positions = np.arange(LENGTH)
    mask = positions < np.array(REAL)[:, None]
    types = mask & (positions >= np.array(SECOND)[:, None])
    ids = tiny.token_ids(config, batch=3, length=LENGTH)
    return {"input_ids": ids, "attention_mask": jnp.asarray(mask, jnp.int32), "token_type_ids": jnp.asarray(types, int)}


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def reference(model, hidden, row):
    """Log-probabilities of starts [T], of ends behind each start [T, T], and the logit of no answer; in float64."""
    head = as_float64(get_params(model)["head"])
    allowed = np.isin(np.arange(LENGTH), [0, *CONTEXTS[row]])
    start = log_softmax(np.where(allowed, dense(head["start"], hidden)[:, 0], -np.inf))
    ends = []
    for chosen in hidden:
        pairs = np.concatenate([hidden, np.tile(chosen, (LENGTH, 1))], -1)
        score = dense(head["end"], norm(head["end_norm"], np.tanh(dense(head["end_hidden"], pairs))))[:, 0]
        ends.append(log_softmax(np.where(allowed, score, -np.inf)))
    summary = np.concatenate([np.exp(start) @ hidden, hidden[0]])
    null = np.tanh(dense(head["null_hidden"], summary)) @ head["null"]["kernel"][:, 0]
    return start, np.stack(ends), null


def references(model):
    hidden = tiny.call(model, **rows(model.config), output_hidden_states=True).hidden_states[-1]
    return [reference(model, np.asarray(hidden[row], np.float64), row) for row in range(3)]


@pytest.mark.parametrize(("family", "beam"), [("albert", 5), ("albert", 2), ("bert", 5), ("distilbert", 99)])
def test_beams_are_the_best_starts_and_the_best_ends_behind_each(family, beam):
    model = tiny.make(BeamQuestionAnswering, tiny.FAMILIES[family]())
    found = tiny.jit(lambda model, inputs: model(**inputs, beam=beam))(model, rows(model.config))
    width = min(beam, LENGTH)
    assert found.end_logits is None
    assert found.end_tokens.shape == (3, width, width)
    for row, (start, ends, null) in enumerate(references(model)):
        np.testing.assert_allclose(found.null_logits[row], null, atol=1e-5)
        best = np.argsort(-start, kind="stable")[: min(width, len(CONTEXTS[row]) + 1)]
        assert found.start_tokens[row, : len(best)].tolist() == best.tolist()
        np.testing.assert_allclose(found.start_log_probs[row, : len(best)], start[best], atol=1e-5)
        for rank, token in enumerate(best):
            best_ends = np.argsort(-ends[token], kind="stable")[: len(best)]
            assert found.end_tokens[row, rank, : len(best)].tolist() == best_ends.tolist()
            np.testing.assert_allclose(found.end_log_probs[row, rank, : len(best)], ends[token][best_ends], atol=1e-5)


def test_the_loss_is_that_of_the_formula(model):
    objective = beam_objective()
    labels = {"starts": jnp.array([4, 0, 6]), "ends": jnp.array([6, 0, 6]), "row_weights": jnp.array([1.0, 1.0, 0.0])}
    batch = {**rows(model.config), **labels}
    sums = tiny.jit(objective.sums)(model, batch, None)
    found = averages(sums, objective.weights(batch), objective.losses)
    one, two, _ = references(model)
    start, end = -(one[0][4] + two[0][0]) / 2, -(one[1][4, 6] + two[1][0, 0]) / 2
    null = (np.log1p(np.exp(one[2])) + np.log1p(np.exp(-two[2]))) / 2
    expected = {"start_loss": start, "end_loss": end, "null_loss": null, "loss": (start + end) / 2 + null / 2}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    np.testing.assert_allclose(found["null_accuracy"], ((one[2] <= 0) + (two[2] > 0)) / 2)


def test_a_row_that_fills_the_batch_changes_no_gradient():
    model = tiny.make(BeamQuestionAnswering, tiny.albert())
    objective = beam_objective()
    labels = {"starts": jnp.array([4, 0, 1]), "ends": jnp.array([6, 0, 1]), "row_weights": jnp.array([1.0, 1.0, 0.0])}
    batch = {**rows(model.config), **labels}

    def loss(model, batch):
        return averages(objective.sums(model, batch, None), objective.weights(batch), objective.losses)["loss"]

    gradient = tiny.jit(jax.grad(loss))
    # Its labels are the question's: a loss of 1e30 and of no weight.
    other = {name: values.at[2].set(values[0]) for name, values in batch.items() if name != "row_weights"}
    other["row_weights"] = batch["row_weights"]
    tiny.assert_gradients_close(gradient(model, batch), gradient(model, other), 1e-5)


def test_the_context_and_cls_may_answer():
    inputs = rows(tiny.albert())
    allowed = np.asarray(answer_tokens(inputs["attention_mask"], inputs["token_type_ids"]))
    assert [np.flatnonzero(row).tolist() for row in allowed] == [[0, *context] for context in CONTEXTS]


def test_padding_changes_nothing():
    model = tiny.make(BeamQuestionAnswering, tiny.bert())
    inputs = {name: values[:1] for name, values in rows(model.config).items()}
    padded = tiny.call(model, **inputs)
    bare = tiny.call(model, **{name: values[:, : REAL[0]] for name, values in inputs.items()})
    np.testing.assert_allclose(padded.null_logits, bare.null_logits, atol=1e-6)
    np.testing.assert_allclose(padded.start_log_probs, bare.start_log_probs, atol=1e-6)
    np.testing.assert_allclose(padded.end_log_probs, bare.end_log_probs, atol=1e-6)
    assert padded.end_tokens.tolist() == bare.end_tokens.tolist()


def test_dropout_needs_a_key_and_reaches_the_head():
    still = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    model = tiny.make(BeamQuestionAnswering, tiny.albert(**still))
    inputs = rows(model.config)
    calm, one, two = (tiny.call(model, **inputs, key=key) for key in (None, jax.random.key(0), jax.random.key(1)))
    # Q, K and V come from one product with a key, from three without: sums in another order.
    np.testing.assert_allclose(calm.start_log_probs, one.start_log_probs, atol=1e-5)
    assert len({out.null_logits.tolist()[0] for out in (calm, one, two)}) == 3


def test_logits_are_float32_where_the_encoder_computes_in_bfloat16():
    config = tiny.albert()
    model = tiny.make(BeamQuestionAnswering, config, execution=Execution(dtype="bfloat16"))
    out = jax.eval_shape(lambda model, inputs: model(**inputs), model, rows(config))
    floats = (out.null_logits, out.start_logits, out.start_log_probs, out.end_log_probs)
    assert {each.dtype for each in floats} == {jnp.dtype(jnp.float32)}


def test_wrong_calls_say_what_is_wrong():
    model = tiny.make(BeamQuestionAnswering, tiny.albert())
    inputs = rows(model.config)
    with pytest.raises(ValueError, match="beam=0; expected at least 1"):
        model(**inputs, beam=0)
    with pytest.raises(ValueError, match="needs token_type_ids"):
        model(inputs["input_ids"])
