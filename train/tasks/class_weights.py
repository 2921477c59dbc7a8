"""Weights that let rare labels count as much as common ones."""

from collections.abc import Sequence

from train.errors import UserError


def balanced_weights(indices: Sequence[int], labels: Sequence[str]) -> tuple[float, ...]:
    """A weight for each label: N / (K n_k), as scikit-learn's "balanced" (King and Zeng 2001).

    Args:
        indices: the label of each of the N training examples.
        labels: names of the K labels.

    Raises:
        UserError: naming the labels that no example has, whose weight would be infinite.
    """
    counts = [0] * len(labels)
    for index in indices:
        counts[index] += 1
    if absent := [name for name, count in zip(labels, counts, strict=True) if not count]:
        raise UserError(f"No training example has the label {', '.join(absent)}: balanced weights cannot be computed.")
    return tuple(len(indices) / (len(labels) * count) for count in counts)
