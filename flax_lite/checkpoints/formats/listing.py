"""Lists of problems in error messages."""

from collections.abc import Iterable

# A problem of one tensor is usually one of all; a longer list would hide the advice that follows it.
_MAX_LINES = 10


def listing(heading: str, lines: Iterable[str]) -> str:
    """Returns a block of an error message: number of lines, heading, and the first ten lines; empty without lines."""
    ordered = sorted(lines)
    if not ordered:
        return ""
    shown = [f"  {line}" for line in ordered[:_MAX_LINES]]
    if len(ordered) > _MAX_LINES:
        shown.append(f"  ... and {len(ordered) - _MAX_LINES} more")
    return "\n".join([f"{len(ordered)} {heading}:", *shown])
