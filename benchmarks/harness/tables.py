"""Tables in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Formats a table; cells are Markdown already."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def column_table(columns: Mapping[str, Callable[..., str]], items: Iterable[Sequence[Any]]) -> str:
    """Formats a table with a row per item; each column is a function of the item's elements."""
    return markdown_table(list(columns), ([cell(*item) for cell in columns.values()] for item in items))
