"""The beam head compared with its formulas in NumPy: training, inference, losses, and the tokens that may answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.execution import Execution
from flax_lite.models.params import get_params
from flax_lite.question_answering.beam import BeamQuestionAnswering, answer_tokens, beam_objective
from flax_lite.training.objective import averages
from tests.flax_lite import tiny
from tests.flax_lite.formulas import as_float64, dense, norm

LENGTH = 12
# No dropout in the encoder: with a key, only the head applies dropout.
NO_DROPOUT = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
# [CLS] q [SEP] c c c c c [SEP] and padding; a full row; a row with a context of one token.
REAL = (9, LENGTH, 8)
SECOND = (3, 5, 6)
CONTEXTS = (range(3, 8), range(5, LENGTH - 1), range(6, 7))


@pytest.fixture(scope="module")
def model():
    return tiny.make(BeamQuestionAnswering, tiny.albert(num_hidden_layers=1, **NO_DROPOUT))


def called(model, **inputs):
    return jax.tree.map(np.asarray, tiny.call(model, **inputs))


@pytest.fixture(scope="module")
def output(model):
    """The model's output for `rows` with the default beam."""
    return called(model, **rows(model.config), output_hidden_states=True)


def rows(config):
    """Returns inputs of three rows."""
    positions = np.arange(LENGTH)
    mask = positions < np.array(REAL)[:, None]
    types = mask & (positions >= np.array(SECOND)[:, None])
    ids = np.asarray(tiny.token_ids(config, batch=3, length=LENGTH))
    return {"input_ids": ids, "attention_mask": mask.astype(np.int32), "token_type_ids": types.astype(np.int32)}


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def reference(model, hidden, row):
    """Returns log probabilities of starts [T] and of ends given each start [T, T], and the null logit, in float64."""
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


def references(model, output):
    hidden = np.asarray(output.hidden_states[-1], np.float64)
    return [reference(model, hidden[row], row) for row in range(3)]


def check_beams(model, found, width):
    assert found.end_logits is None
    assert found.end_tokens.shape == (3, width, width)
    for row, (start, ends, null) in enumerate(references(model, found)):
        np.testing.assert_allclose(found.null_logits[row], null, atol=1e-5)
        best = np.argsort(-start, kind="stable")[: min(width, len(CONTEXTS[row]) + 1)]
        assert found.start_tokens[row, : len(best)].tolist() == best.tolist()
        np.testing.assert_allclose(found.start_log_probs[row, : len(best)], start[best], atol=1e-5)
        for rank, token in enumerate(best):
            best_ends = np.argsort(-ends[token], kind="stable")[: len(best)]
            assert found.end_tokens[row, rank, : len(best)].tolist() == best_ends.tolist()
            np.testing.assert_allclose(found.end_log_probs[row, rank, : len(best)], ends[token][best_ends], atol=1e-5)


def test_beams_are_the_five_best_starts_and_ends(model, output):
    check_beams(model, output, 5)


def test_beams_are_limited_to_the_number_of_tokens():
    """With an encoder without token types, for which they still mark the tokens that may answer."""
    model = tiny.make(BeamQuestionAnswering, tiny.distilbert(num_hidden_layers=1))
    program = jax.jit(lambda model, inputs: model(**inputs, beam=99, output_hidden_states=True))
    check_beams(model, jax.tree.map(np.asarray, program(model, rows(model.config))), LENGTH)


@pytest.fixture(scope="module")
def measured(model):
    """Returns a compiled function of a batch to the gradient of the loss and the metrics, and a batch."""
    objective = beam_objective()

    def loss(model, batch):
        found = averages(objective.sums(model, batch, None), objective.weights(batch), objective.losses)
        return found["loss"], found

    program = jax.jit(jax.grad(loss, has_aux=True))
    # The padding row has labels that are not allowed: a loss of 1e30, with weight 0.
    labels = {"starts": [4, 0, 1], "ends": [6, 0, 1]}
    labels = {name: np.array(values, np.int32) for name, values in labels.items()}
    batch = {**rows(model.config), **labels, "row_weights": np.array([1, 1, 0], np.float32)}
    return functools.partial(program, model), batch


def test_the_loss_equals_the_formula(model, output, measured):
    program, batch = measured
    _, found = program(batch)
    one, two, _ = references(model, output)
    start, end = -(one[0][4] + two[0][0]) / 2, -(one[1][4, 6] + two[1][0, 0]) / 2
    null = (np.log1p(np.exp(one[2])) + np.log1p(np.exp(-two[2]))) / 2
    expected = {"start_loss": start, "end_loss": end, "null_loss": null, "loss": (start + end) / 2 + null / 2}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    np.testing.assert_allclose(found["null_accuracy"], ((one[2] <= 0) + (two[2] > 0)) / 2)


def test_a_padding_row_changes_no_gradient(measured):
    program, batch = measured
    other = {name: values.copy() for name, values in batch.items()}
    for name in batch.keys() - {"row_weights"}:
        other[name][2] = batch[name][0]
    jax.tree.map(np.testing.assert_array_equal, program(batch)[0], program(other)[0])


def test_the_context_and_cls_may_answer():
    inputs = rows(tiny.albert())
    allowed = np.asarray(jax.jit(answer_tokens)(inputs["attention_mask"], inputs["token_type_ids"]))
    assert [np.flatnonzero(row).tolist() for row in allowed] == [[0, *context] for context in CONTEXTS]


def test_padding_changes_nothing(model, output):
    """With other ids in it, and with the token type of the context."""
    inputs = rows(model.config)
    padding = inputs["attention_mask"] == 0
    other = inputs | {"input_ids": np.where(padding, 1 + inputs["input_ids"] % 40, inputs["input_ids"])}
    other["token_type_ids"] = np.where(padding, 1, inputs["token_type_ids"])
    found = called(model, **other, output_hidden_states=True)
    for name in ("null_logits", "start_log_probs", "end_log_probs"):
        np.testing.assert_allclose(getattr(found, name), getattr(output, name), atol=1e-6)
    assert found.end_tokens.tolist() == output.end_tokens.tolist()


def test_dropout_needs_a_key_and_reaches_the_head(model, output):
    one, two = (called(model, **rows(model.config), key=jax.random.key(seed)) for seed in (0, 1))
    # With a key, Q, K and V are one product, without it three: another order of summation.
    np.testing.assert_allclose(output.start_log_probs, one.start_log_probs, atol=1e-5)
    assert len({out.null_logits.tolist()[0] for out in (output, one, two)}) == 3


def test_logits_are_float32_with_an_encoder_in_bfloat16():
    config = tiny.albert(num_hidden_layers=1)
    model = tiny.make(BeamQuestionAnswering, config, execution=Execution(dtype="bfloat16"))
    out = jax.eval_shape(lambda model, inputs: model(**inputs), model, rows(config))
    floats = (out.null_logits, out.start_logits, out.start_log_probs, out.end_log_probs)
    assert {each.dtype for each in floats} == {jnp.dtype(jnp.float32)}


def test_invalid_calls_are_errors(model):
    inputs = jax.device_put(rows(model.config))
    with pytest.raises(ValueError, match="beam=0; expected at least 1"):
        model(**inputs, beam=0)
    with pytest.raises(ValueError, match="needs token_type_ids"):
        model(inputs["input_ids"])
