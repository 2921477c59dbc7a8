"""Labels as files write them: which there are, in which order, and the index or number of one."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from train.errors import UserError
from train.options.schema import nearest


def index_of(name: str, labels: Sequence[str], place: str, known_from: str) -> int:
    """The index of a label.

    Args:
        name: of the label.
        labels: all there are.
        place: where it stands, for the message.
        known_from: where `labels` come from, for the message.

    Raises:
        UserError: if it is none of them.
    """
    try:
        return labels.index(name)
    except ValueError:
        raise UserError(
            f"{place}: unknown label {name!r}{nearest(name, labels)}. {known_from}: {', '.join(labels)}."
        ) from None


def number_of(written: Any, place: str) -> float:
    """A number as written.

    Raises:
        UserError: if it is none, or not finite.
    """
    try:
        number = math.nan if isinstance(written, bool) else float(written)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{place}: {written!r} is not a finite number, as expected here.")
    return number


def name_of(written: Any) -> str:
    """The name of a label: text without the white space around it; a number or truth value as JSON writes it."""
    return written.strip() if isinstance(written, str) else json.dumps(written)


def sorted_labels(names: Iterable[str]) -> tuple[str, ...]:
    """The labels found, each once: by value where all are numbers, else by character."""
    found = sorted(set(names))
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(found)
