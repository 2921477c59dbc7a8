"""How an error lists everything that is wrong with a checkpoint."""

from collections.abc import Iterable

# BERT-large has 391 parameters (24 layers of 16, and 7 around them): of published sizes, all of them are shown.
_MAX_LINES = 400


def listing(heading: str, lines: Iterable[str]) -> str:
    """A block of an error message: how many, what they have in common, and a line for each; empty if there is none."""
    ordered = sorted(lines)
    if not ordered:
        return ""
    shown = [f"  {line}" for line in ordered[:_MAX_LINES]]
    if len(ordered) > _MAX_LINES:
        shown.append(f"  ... and {len(ordered) - _MAX_LINES} more")
    return "\n".join([f"{len(ordered)} {heading}:", *shown])
