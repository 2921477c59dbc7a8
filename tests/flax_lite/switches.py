"""Every switch of the configurations, and where it means something: what comparisons with Hugging Face go through."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from tests.flax_lite import tiny

# Their stack is unrolled and its compile time grows with every layer: the quick stacks are as small as can be.
_STACKS: Mapping[str, Mapping[str, Any]] = {
    "groups": {"num_hidden_layers": 2, "num_hidden_groups": 2},
    "inner_groups": {"num_hidden_layers": 2, "inner_group_num": 2},
    "groups_of_inner_groups": {"num_hidden_layers": 2, "num_hidden_groups": 2, "inner_group_num": 2},
    "3_layers_in_2_groups": {"num_hidden_layers": 3, "num_hidden_groups": 2},
    "5_layers_in_3_groups": {"num_hidden_layers": 5, "num_hidden_groups": 3},
}
_DEEP_STACKS: Mapping[str, Mapping[str, Any]] = {
    "7_layers_in_3_groups": {"num_hidden_layers": 7, "num_hidden_groups": 3},
}
_ACTIVATIONS = {name: {"hidden_act": name} for name in ("gelu", "gelu_new", "relu")}
_UNTIED = {"untied": {"tie_word_embeddings": False}}
_LABELS = {"one_label": {"labels": ("score",)}, "five_labels": {"labels": tuple("abcde")}}
_SINUSOIDAL = {"sinusoidal": {"sinusoidal_positions": True}}
_SWITCHES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "albert": {**_STACKS, **_ACTIVATIONS, **_UNTIED, **_LABELS},
    "bert": {**_ACTIVATIONS, **_UNTIED, **_LABELS},
    "distilbert": {**_ACTIVATIONS, **_UNTIED, **_LABELS, **_SINUSOIDAL},
}
EACH_ONCE = [
    pytest.param(family, head, changes, id=f"{family}-{head}-{name}")
    for family, switches in _SWITCHES.items()
    for name, changes in switches.items()
    for head in ("MaskedLM", "SequenceClassification")
    # A switch of the other kind of head changes nothing.
    if not (name in _UNTIED and head == "SequenceClassification") and not (name in _LABELS and head == "MaskedLM")
]


def product(family: str) -> list[Any]:
    """Every head under every combination of switches that means something to it."""
    stacks = [{}, *_STACKS.values(), *_DEEP_STACKS.values()] if family == "albert" else [{}]
    positions = [{}, *_SINUSOIDAL.values()] if family == "distilbert" else [{}]
    cases = []
    for head in tiny.heads_of(family):
        ties = [{}, *_UNTIED.values()] if head in ("MaskedLM", "PreTraining") else [{}]
        labels = [{}, *_LABELS.values()] if head in ("SequenceClassification", "TokenClassification") else [{}]
        for parts in itertools.product(stacks, _ACTIVATIONS.values(), positions, ties, labels):
            changes = {key: value for part in parts for key, value in part.items()}
            cases.append(pytest.param(family, head, changes, id=f"{family}-{head}-{len(cases)}"))
    return cases
