"""Sampled examples have every label, also from a sorted file, and are deterministic."""

import pytest

from train.tasks.examples import TaskData, TextExample, missing_label_notes, sample_examples
from train.tasks.opening import limit_examples

SORTED = [TextExample(id=str(number), texts=("x",), label=number // 50) for number in range(100)]


@pytest.mark.parametrize(("count", "seed"), [(20, 0), (20, 1), (10, 7), (99, 3)])
def test_a_sample_keeps_the_order_and_is_determined_by_its_seed(count, seed):
    found = sample_examples(SORTED, count, seed)
    assert len(found) == count
    assert found == sorted(found, key=lambda example: int(example.id))
    assert {example.label for example in found} == {0, 1}
    assert found == sample_examples(SORTED, count, seed)
    assert found != sample_examples(SORTED, count, seed + 1)


@pytest.mark.parametrize("count", [None, 100, 101])
def test_a_sample_of_all_examples_is_the_same_list(count):
    assert sample_examples(SORTED, count, 0) == SORTED


def test_evaluation_samples_do_not_depend_on_the_seed_and_missing_labels_are_noted():
    data = TaskData(kind="classification", train=SORTED, evaluation={"dev": SORTED}, labels=("a", "b", "c"))
    first, second = (limit_examples(data, 1, 10, seed) for seed in (1, 2))
    assert first.evaluation == second.evaluation
    assert {example.label for example in first.evaluation["dev"]} == {0, 1}
    missing = data.labels[1 - first.train[0].label]
    assert first.notes == (f"none of the 1 sampled training examples has the label {missing}",)
    assert missing_label_notes(data, SORTED) == []
