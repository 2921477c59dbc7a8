"""How an error lists what is wrong with a checkpoint."""

from collections.abc import Iterable

# What is wrong with one tensor is mostly wrong with all: the rest would only push the advice that follows out of sight.
_MAX_LINES = 10


def listing(heading: str, lines: Iterable[str]) -> str:
    """A block of an error message: how many, what they have in common, and a line for each of the first ten.

    Empty if there is none.
    """
    ordered = sorted(lines)
    if not ordered:
        return ""
    shown = [f"  {line}" for line in ordered[:_MAX_LINES]]
    if len(ordered) > _MAX_LINES:
        shown.append(f"  ... and {len(ordered) - _MAX_LINES} more")
    return "\n".join([f"{len(ordered)} {heading}:", *shown])
