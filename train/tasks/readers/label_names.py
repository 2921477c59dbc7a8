"""Parses labels in files, and determines the labels of a task and their order."""

import ast
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from train.errors import UserError
from train.options.schema import nearest


def label_index(name: str, labels: Sequence[str], location: str, known_from: str, cure: str = "") -> int:
    """Returns the index of a label.

    Args:
        name: the name of the label.
        labels: all labels.
        location: the location in a file, for the message.
        known_from: the description of `labels` in the message.
        cure: the end of the message.

    Raises:
        UserError: if it is not one of the labels.
    """
    try:
        return labels.index(name)
    except ValueError:
        raise UserError(
            f"{location}: unknown label {name!r}{nearest(name, labels)}. {known_from}: {', '.join(labels)}.{cure}"
        ) from None


def parse_number(written: Any, location: str) -> float:
    """Parses a finite number.

    Raises:
        UserError: if the value is not a finite number.
    """
    try:
        number = math.nan if isinstance(written, bool) else float(written)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{location}: {written!r} is not a finite number, which is expected here.")
    return number


def is_missing(written: Any) -> bool:
    """Returns whether a value is missing: None, only white space, or the NaN that pandas writes to JSON."""
    return written is None or written != written or (isinstance(written, str) and not written.strip())


def label_name(written: Any) -> str:
    """Returns the name of a label: a stripped text; for a number or boolean, its JSON notation."""
    return written.strip() if isinstance(written, str) else json.dumps(written)


def sorted_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the distinct labels, sorted by value if all are numbers, else by character."""
    found = sorted(set(names))
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(found)


_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+.\w]+)"""
_LIST = re.compile(rf"[\[({{]\s*(?:{_ITEM}(?:\s*,\s*{_ITEM})*\s*,?)?\s*[\])}}]")
# Labels may have parentheses or braces, so these form a list only if a quote follows.
_LISTS = re.compile(r"""\[.*\]|\(\s*['"].*\)|\{\s*['"].*\}""", re.DOTALL)


def looks_like_several(name: str) -> bool:
    """Returns whether a label looks like a list of several or quoted names, as pandas writes it."""
    return bool(_LISTS.fullmatch(name)) and any(mark in name for mark in "',\"")


def parse_list(written: str, location: str) -> list[Any] | None:
    """Parses a list in Python's notation, which pandas writes, or in JSON; returns None if the text is not a list.

    Raises:
        UserError: if it looks like a list but cannot be parsed, as NumPy's notation, which has no commas.
    """
    text = written.strip()
    if not _LISTS.fullmatch(text):
        return None
    try:
        # Without the pattern, Python would concatenate the strings of ['a' 'b'].
        if _LIST.fullmatch(text):
            return list(ast.literal_eval(f"[{text[1:-1]}]"))
    except (ValueError, SyntaxError):
        pass
    raise UserError(
        f"{location}: {written!r:.200} looks like a list but cannot be read as one. Expected names between separators, "
        "or a list in the notation of Python or JSON, such as ['a', 'b']."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class KnownLabels:
    """The labels of a model, which become the labels of the task if those of the data are among them.

    Attributes:
        names: the names in the order of their indices; LABEL_0, LABEL_1, ... if the model does not name them.
        source: the model.
    """

    names: tuple[str, ...] = ()
    source: str = ""

    def choose(self, found: Sequence[str]) -> tuple[str, ...]:
        """Returns the labels of the task, given those of its data (as run_glue.py of huggingface/transformers).

        If the model does not name its labels, numbers in the data are their indices. Names may differ in case, and are
        spelled as in the data. If the data has labels that the model lacks, the labels are those of the data.
        """
        count = len(self.names)
        unnamed = self.names == tuple(f"LABEL_{index}" for index in range(count))
        names = tuple(map(str, range(count))) if unnamed else self.names
        if set(found) <= set(names):
            return names
        spelled = {name.casefold(): name for name in found}
        folded = [name.casefold() for name in names]
        if len(spelled) == len(found) and len(set(folded)) == count and set(spelled) <= set(folded):
            return tuple(spelled.get(each, name) for each, name in zip(folded, names, strict=True))
        return tuple(found)
