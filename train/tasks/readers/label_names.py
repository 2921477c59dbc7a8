"""Labels as files write them: which there are, in which order, and the index or number of one."""

import ast
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from train.errors import UserError
from train.options.schema import nearest


def label_index(name: str, labels: Sequence[str], place: str, known_from: str, cure: str = "") -> int:
    """The index of a label.

    Args:
        name: of the label.
        labels: all there are.
        place: where it stands, for the message.
        known_from: where `labels` come from, for the message.
        cure: the end of the message.

    Raises:
        UserError: if it is none of them.
    """
    try:
        return labels.index(name)
    except ValueError:
        raise UserError(
            f"{place}: unknown label {name!r}{nearest(name, labels)}. {known_from}: {', '.join(labels)}.{cure}"
        ) from None


def parse_number(written: Any, place: str) -> float:
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


def is_missing(written: Any) -> bool:
    """Whether nothing is written: no value, white space alone, or the NaN that pandas writes into JSON."""
    return written is None or written != written or (isinstance(written, str) and not written.strip())


def label_name(written: Any) -> str:
    """The name of a label: text without the white space around it; a number or truth value as JSON writes it."""
    return written.strip() if isinstance(written, str) else json.dumps(written)


def sorted_labels(names: Iterable[str]) -> tuple[str, ...]:
    """The labels found, each once: by value where all are numbers, else by character."""
    found = sorted(set(names))
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(found)


_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+.\w]+)"""
_LIST = re.compile(rf"[\[({{]\s*(?:{_ITEM}(?:\s*,\s*{_ITEM})*\s*,?)?\s*[\])}}]")
# Round and curly brackets stand around labels too, and make a list only where quotes follow.
_LISTS = re.compile(r"""\[.*\]|\(\s*['"].*\)|\{\s*['"].*\}""", re.DOTALL)


def looks_like_several(name: str) -> bool:
    """Whether the name of a label is a list of several, or of quoted names, as a cell holds what was one in Python."""
    return bool(_LISTS.fullmatch(name)) and any(mark in name for mark in "',\"")


def parse_list(written: str, place: str) -> list[Any] | None:
    """The list that a text is, as Python and so pandas write one into a cell, or as JSON; None where it is none.

    Raises:
        UserError: if it looks like one and cannot be read, as what NumPy writes, which has no commas.
    """
    text = written.strip()
    if not _LISTS.fullmatch(text):
        return None
    try:
        # Without the pattern, Python would join the strings of ['a' 'b'] to one.
        if _LIST.fullmatch(text):
            return list(ast.literal_eval(f"[{text[1:-1]}]"))
    except (ValueError, SyntaxError):
        pass
    raise UserError(
        f"{place}: {written!r:.200} looks like a list and cannot be read as one. Expected names between separators, or "
        "a list as Python or JSON writes it, such as ['a', 'b']."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class KnownLabels:
    """The labels that a model at hand has learned, which are the task's where the data's are among them.

    Attributes:
        names: in the order of their indices; LABEL_0, LABEL_1, ... where the model does not name them.
        source: the model.
    """

    names: tuple[str, ...] = ()
    source: str = ""

    def choose(self, found: Sequence[str]) -> tuple[str, ...]:
        """The task's labels, of those that its data has: as Hugging Face's scripts choose them (run_glue.py).

        Numbers are the indices of labels without names. Names may differ in case, and are spelled as the data has them.
        Where the data has others than the model, they are the data's.
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
