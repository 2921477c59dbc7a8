"""Predictions of single examples, matched with the examples that they are of."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from train.errors import UserError
from train.tasks.examples import Example, TagExample


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What is predicted of one example.

    Attributes:
        id: the example's.
        value: as `train.tasks.scores.metrics` takes it: an index, a number, a 0 or 1 for each label, an index for each
            word.
        probabilities: of each label or choice, where the model gives them.
    """

    id: str
    value: Any
    probabilities: tuple[float, ...] | None = None


def in_order(predictions: Sequence[Prediction], examples: Sequence[Example], source: object) -> list[Any]:
    """The values predicted of the examples, in the order of these.

    Args:
        predictions: one of each example, in any order.
        examples: what was predicted.
        source: where the predictions come from, for a message.

    Raises:
        UserError: if an example has none or two, there is one of no example, or a sentence has not a tag for each word.
    """
    values = {prediction.id: prediction.value for prediction in predictions}
    if len(values) < len(predictions):
        seen: set[str] = set()
        twice = next(one.id for one in predictions if one.id in seen or seen.add(one.id))
        raise UserError(f"{source} predicts {twice!r} twice. Expected one prediction of each example.")
    known = {example.id for example in examples}
    for what, ids in (
        ("has no prediction of", known - values.keys()),
        ("predicts what is not asked:", values.keys() - known),
    ):
        if ids:
            raise UserError(
                f"{source} {what} {len(ids)} of the {len(known)} examples, {min(ids)!r} for one. Is it of another set?"
            )
    for example in examples:
        if isinstance(example, TagExample) and len(values[example.id]) != len(example.words):
            raise UserError(
                f"{source} predicts {len(values[example.id])} tags of sentence {example.id}, which has "
                f"{len(example.words)} words."
            )
    return [values[example.id] for example in examples]
