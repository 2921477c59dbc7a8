"""The switches of the configurations for each head, for comparisons with Hugging Face."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from tests.flax_lite import tiny

# The reference unrolls its layers, so that its compile time grows with depth: stacks are as small as possible.
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
# Each head and each switch of each family once, with several switches in one comparison.
_ONE, _TWO = {"num_hidden_layers": 1}, {"num_hidden_layers": 2}
_PAIRS: Mapping[str, list[tuple[str, Mapping[str, Any]]]] = {
    "albert": [
        ("Encoder", {**_STACKS["3_layers_in_2_groups"], "hidden_act": "gelu"}),
        ("PreTraining", {**_STACKS["inner_groups"], **_ONE}),
        ("MaskedLM", {**_STACKS["groups"], **_UNTIED["untied"], "hidden_act": "relu"}),
        ("SequenceClassification", {**_STACKS["groups_of_inner_groups"], **_LABELS["one_label"]}),
        ("TokenClassification", {**_ONE, **_LABELS["five_labels"], "hidden_act": "relu"}),
        ("QuestionAnswering", {**_ONE, "hidden_act": "gelu"}),
        ("MultipleChoice", _TWO),
    ],
    "bert": [
        ("Encoder", {**_ONE, "hidden_act": "gelu_new"}),
        ("PreTraining", {**_ONE, **_UNTIED["untied"], "hidden_act": "relu"}),
        ("MaskedLM", _TWO),
        ("SequenceClassification", {**_ONE, **_LABELS["one_label"]}),
        ("TokenClassification", {**_ONE, **_LABELS["five_labels"], "hidden_act": "relu"}),
        ("QuestionAnswering", {**_ONE, "hidden_act": "gelu_new"}),
        ("MultipleChoice", _ONE),
    ],
    "distilbert": [
        ("Encoder", {**_ONE, **_SINUSOIDAL["sinusoidal"], "hidden_act": "gelu_new"}),
        ("MaskedLM", _TWO),
        ("MaskedLM", {**_ONE, **_SINUSOIDAL["sinusoidal"], **_UNTIED["untied"], "hidden_act": "relu"}),
        ("SequenceClassification", {**_TWO, **_LABELS["one_label"]}),
        ("TokenClassification", {**_ONE, **_LABELS["five_labels"], "hidden_act": "gelu_new"}),
        ("QuestionAnswering", {**_ONE, "hidden_act": "relu"}),
        ("MultipleChoice", _ONE),
    ],
}
PAIRS = [
    pytest.param(family, head, changes, id=f"{family}-{head}-{number}")
    for family, cases in _PAIRS.items()
    for number, (head, changes) in enumerate(cases)
]


def every_pair(family: str) -> list[Any]:
    """Returns every head with combinations that cover any two values of its switches (pairwise testing)."""
    stacks = [{}, *_STACKS.values(), *_DEEP_STACKS.values()] if family == "albert" else [{}]
    positions = [{}, *_SINUSOIDAL.values()] if family == "distilbert" else [{}]
    cases = []
    for head in tiny.heads_of(family):
        ties = [{}, *_UNTIED.values()] if head in ("MaskedLM", "PreTraining") else [{}]
        labels = [{}, *_LABELS.values()] if head in ("SequenceClassification", "TokenClassification") else [{}]
        switches = [stacks, list(_ACTIVATIONS.values()), positions, ties, labels]
        for chosen in _covering(itertools.product(*(range(len(values)) for values in switches))):
            parts = [values[index] for values, index in zip(switches, chosen, strict=True)]
            changes = {key: value for part in parts for key, value in part.items()}
            cases.append(pytest.param(family, head, changes, id=f"{family}-{head}-{len(cases)}"))
    return cases


def _covering(rows: Iterable[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Yields rows that cover every pair of values of all rows, greedily those with most uncovered pairs."""
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    missing = set().union(*pairs.values())
    while missing:
        row = max(pairs, key=lambda row: len(pairs[row] & missing))
        missing -= pairs[row]
        yield row
