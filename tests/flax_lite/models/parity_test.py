"""Parity with Hugging Face's Flax classes, through checkpoints, in both directions.

Tiny random models are compared at 1e-5: outputs, hidden states and attentions absolutely, gradients relative to the
leaf's largest element. Measured differences are at most 1e-6 and 3e-6.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

from flax_lite.architecture import registry
from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import preset
from flax_lite.checkpoints.checkpoint import FLAX
from flax_lite.checkpoints.engine import export_tensors
from flax_lite.families import bert
from tests.flax_lite import switches, tiny
from tests.flax_lite.reference import Measured, Outputs, Params, Reference, as_function, inputs_for
from tests.flax_lite.reference_numpy import NumpyMaskedLM

pytestmark = pytest.mark.reference

TOLERANCE = 1e-5


def assert_same_outputs(expected: Outputs, actual: Outputs) -> None:
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=TOLERANCE, err_msg=name)


def assert_same_gradients(expected: Params, actual: Params, config: EncoderConfig) -> None:
    reference = traverse_util.flatten_dict(expected, sep=".")
    exported = export_tensors(traverse_util.flatten_dict(actual, sep="/"), FLAX, config)
    assert reference.keys() == exported.keys()
    for name, gradient in reference.items():
        # The key bias shifts all scores of a query equally: its true gradient is zero, and only rounding remains.
        scale_name = name.replace(".bias", ".kernel") if name.endswith(("key.bias", "k_lin.bias")) else name
        largest = float(np.abs(reference[scale_name]).max())
        assert largest > 0
        np.testing.assert_allclose(exported[name].read(), gradient, rtol=0, atol=TOLERANCE * largest, err_msg=name)


def check_both_directions(
    head: str,
    config: EncoderConfig,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    gradients: bool = True,
    without: tuple[str, ...] = (),
) -> None:
    """Compares outputs and gradients for a checkpoint of the reference class, and outputs for one of this library."""
    reference = Reference(head, config)
    inputs = {name: value for name, value in inputs_for(head, config).items() if name not in without}
    reference_params = reference.draw()
    reference.model.save_pretrained(directory / "hf", params=reference_params)
    function, params = as_function(tiny.MODELS[head].from_pretrained(directory / "hf"))
    run_reference, run = (Measured(each, gradients=gradients) for each in (reference, function))

    expected, expected_gradients = run_reference(reference_params, inputs)
    actual, actual_gradients = run(params, inputs)
    assert_same_outputs(expected, actual)
    if gradients:
        assert_same_gradients(expected_gradients, actual_gradients, config)

    other = tiny.make(head, config, seed=1)
    other.save_pretrained(directory / "flax_lite", format="flax")
    expected, _ = run(as_function(other)[1], inputs)
    assert_same_outputs(expected, run_reference(reference.load(directory / "flax_lite", monkeypatch), inputs)[0])


@pytest.mark.parametrize(("family", "head", "changes"), switches.PAIRS)
def test_heads_and_switches_equal_reference(
    family: str, head: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients once for each family, with a tied table, an untied one and a pooled head; the slow test covers the
    others. One head gets no mask and no token types, to compare their defaults.
    """
    config = tiny.FAMILIES[family](**changes)
    gradients = head == ("SequenceClassification" if family == "distilbert" else "MaskedLM")
    without = ("attention_mask", "token_type_ids") if head == "QuestionAnswering" else ()
    check_both_directions(head, config, tmp_path, monkeypatch, gradients=gradients, without=without)


@pytest.mark.slow  # compiles hundreds of programs, for combinations of the switches above
@pytest.mark.parametrize(
    ("family", "head", "changes"), [case for family in tiny.FAMILIES for case in switches.every_pair(family)]
)
def test_every_pair_of_switches_equals_reference(
    family: str, head: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_both_directions(head, tiny.FAMILIES[family](**changes), tmp_path, monkeypatch)


@pytest.mark.slow  # models of a hundred million parameters, in float64 too
@pytest.mark.parametrize("name", ["albert-base-v2", "bert-base-uncased", "distilbert-base-uncased"])
def test_base_size_is_as_close_to_float64_as_reference(name: str, tmp_path: Path) -> None:
    """At this size float32 rounding alone exceeds 1e-5, so both are measured against float64.

    The largest error of this library is at most 1.5 times the reference's.
    """
    config = preset(name)
    reference = Reference("MaskedLM", config)
    # Twice the usual initialization: attention is far from uniform, and not one-hot as it would be at 0.2.
    reference_params = reference.draw(deviation=0.04)
    inputs = inputs_for("MaskedLM", config, batch=2, length=64)
    reference.model.save_pretrained(tmp_path, params=reference_params)
    function, params = as_function(tiny.MODELS["MaskedLM"].from_pretrained(tmp_path))
    exact = NumpyMaskedLM(traverse_util.flatten_dict(reference_params, sep="/"), config)
    hidden, logits = exact(*(np.asarray(inputs[key]) for key in ("input_ids", "attention_mask", "token_type_ids")))
    expected = jax.jit(reference)(reference_params, inputs)
    actual = jax.jit(function)(params, inputs)

    def error(outputs: Outputs) -> tuple[float, float]:
        pairs = ((outputs["hidden_states"][-1], hidden), (outputs["logits"], logits))
        hidden_error, logits_error = (np.abs(np.asarray(value, np.float64) - true).max() for value, true in pairs)
        return float(hidden_error), float(logits_error)

    for reference_error, own_error in zip(error(expected), error(actual), strict=True):
        assert own_error <= 1.5 * reference_error


@pytest.mark.parametrize(
    "pair", [("attention/query", "attention/key"), ("attention/layer_norm", "feed_forward/layer_norm")]
)
def test_swapped_weight_rows_fail(pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison must be able to fail: here for two swapped modules of equal shapes."""
    rows = {row.path: row for row in bert.FAMILY.weights.encoder}
    modules = {}
    for path in rows:
        for one, other in (pair, pair[::-1]):
            if f"/{one}/" in path:
                modules[path] = rows[path.replace(one, other)].module
    assert len(modules) == 4
    swapped = (dataclasses.replace(row, module=modules.get(path, row.module)) for path, row in rows.items())
    broken = dataclasses.replace(bert.FAMILY.weights, encoder=tuple(swapped))
    monkeypatch.setitem(registry._FAMILIES, "bert", dataclasses.replace(bert.FAMILY, weights=broken))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_both_directions("Encoder", tiny.bert(num_hidden_layers=1), tmp_path, monkeypatch, gradients=False)


def test_reference_reports_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check for reports of the reference class must be able to fail: a masked LM has no pooler for an encoder."""
    config = tiny.bert()
    tiny.make("MaskedLM", config).save_pretrained(tmp_path / "model", format="flax")
    with pytest.raises(AssertionError, match="missing"):
        Reference("Encoder", config).load(tmp_path / "model", monkeypatch)
