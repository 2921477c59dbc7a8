"""Reads files of columns in the format of CoNLL: a word and its tag per line, a blank line between sentences.

No library reads the dialects of this format; `csv` could only split the lines.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from train.errors import UserError
from train.tasks.readers.lines import read_lines

_TAG = re.compile(r"O|[A-Z]-.+")
# Number of sentences that are examined to distinguish a column that numbers the words from words that are numbers.
_SAMPLE = 50

_Line = tuple[int, list[str]]
Sentence = tuple[str, list[tuple[str, str | None]]]


def column_sentences(path: Path, word: int | None, tag: int | None) -> Iterator[Sentence]:
    """Yields for each sentence the place of its first line, and its words with their tags.

    The tag is None if a line has a single column. Columns are separated by tabs if the line has one, else by spaces;
    white space at the end of a line is ignored. A line that starts with a tab has an empty word. Lines that start with
    -DOCSTART- are skipped, and so are comments: lines before a sentence whose first field is "#" or starts with "# ",
    unless they have the format of a word.

    Args:
        path: the file.
        word: column of the word, from 0, or from the end if negative; the first if None.
        tag: column of the tag; the last if None.

    Raises:
        UserError: if the lines of a sentence have different numbers of columns, or one of the two columns is missing;
            if the first column numbers the words of each sentence and `word` is None.
    """
    word_column, tag_column = 0 if word is None else word, -1 if tag is None else tag
    first: list[list[_Line]] = []
    for rows in _blocks(path):
        rows = _without_comments(rows, tag_column)
        if not rows:
            continue
        if len(first) < _SAMPLE:
            first.append(rows)
        _check(path, rows, word_column, tag_column)
        yield f"{path}, line {rows[0][0]}", _tagged(rows, word_column, tag_column)
    if word is None and _is_numbered(first):
        raise UserError(
            f"{path}: the first column numbers the words. Give the column of the words, from 0: "
            "--config.data.columns.word=1, and data.columns.tag if the tags are not in the last column (for the outer "
            "entities of GermEval: data.columns.tag=2)."
        )


def _blocks(path: Path) -> Iterator[list[_Line]]:
    """Yields blocks of lines, separated by blank lines and -DOCSTART- lines."""
    rows: list[_Line] = []
    for number, line in read_lines(path):
        if line.strip(" \t") and not line.startswith("-DOCSTART-"):
            rows.append((number, _fields(line)))
        elif rows:
            yield rows
            rows = []
    if rows:
        yield rows


def _fields(line: str) -> list[str]:
    # Words may contain other white space, such as a no-break space.
    line = line.rstrip("\t ")
    if "\t" not in line:
        return [field for field in line.split(" ") if field]
    word, *others = line.split("\t")
    return [word, *(field for field in others if field)]


def _without_comments(rows: list[_Line], tag: int) -> list[_Line]:
    """Removes the leading lines that start with # and differ from a word's line in their columns or have no tag."""
    begin = next((location for location, (_, fields) in enumerate(rows) if fields[0].split(" ")[0] != "#"), len(rows))
    width = len(rows[begin][1]) if begin < len(rows) else None
    while begin and _is_word(rows[begin - 1][1], width, tag):
        begin -= 1
    return rows[begin:]


def _is_word(fields: Sequence[str], width: int | None, tag: int) -> bool:
    """Returns whether a line that starts with # holds a word and its tag."""
    if len(fields) == 1:
        return width == 1
    has_tag = -len(fields) <= tag < len(fields) and _TAG.fullmatch(fields[tag])
    return bool(has_tag) and width in (None, len(fields))


def _check(path: Path, rows: Sequence[_Line], word: int, tag: int) -> None:
    begin, expected = rows[0][0], len(rows[0][1])
    for number, fields in rows:
        location = f"{path}, line {number}"
        if len(fields) != expected:
            raise UserError(
                f"{location} has {len(fields)} column(s), but the first line of the sentence has {expected} (line "
                f"{begin}). Columns are separated by tabs, or by spaces in a line without tabs."
            )
        for column, what in ((word, "word"), (tag, "tag")):
            if not -len(fields) <= column < len(fields) and len(fields) > 1:
                raise UserError(
                    f"{location} has {len(fields)} columns, but the {what} is expected in column {column} (from 0). "
                    f"Give --config.data.columns.{what}."
                )


def _tagged(rows: Sequence[_Line], word: int, tag: int) -> list[tuple[str, str | None]]:
    if len(rows[0][1]) == 1:
        return [(fields[0], None) for _, fields in rows]
    return [(fields[word], fields[tag]) for _, fields in rows]


def _is_numbered(sentences: Sequence[Sequence[_Line]]) -> bool:
    """Returns whether the first of several columns counts from 1, or from 0, in every sentence."""
    columns = [[fields[0] for _, fields in rows] for rows in sentences]
    wide = all(len(fields) > 2 for rows in sentences for _, fields in rows)
    return (
        bool(columns)
        and wide
        and any(
            all(column == [str(number) for number in range(start, start + len(column))] for column in columns)
            for start in (0, 1)
        )
    )
