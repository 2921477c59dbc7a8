"""Files of columns, as of CoNLL: a word a line, its tag in one of the columns, a blank line between sentences."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from train.errors import UserError
from train.tasks.readers.lines import read_lines

_TAG = re.compile(r"O|[A-Z]-.+")
# Sentences by which a column of numbers is told from words that are numbers.
_SAMPLE = 50

_Line = tuple[int, list[str]]
Sentence = tuple[str, list[tuple[str, str | None]]]


def column_sentences(path: Path, word: int | None, tag: int | None) -> Iterator[Sentence]:
    """Yields the words of each sentence with their tags, None where a line is a word alone, and where it begins.

    Columns stand between tabs where the line has one between others, else between spaces, and white space at its end
    is none. A word may be empty: then its line begins with a tab. Lines that begin with -DOCSTART- are left out, and so
    are comments: lines before a sentence that begin with a # apart and are not as its words are.

    Args:
        path: the file.
        word: column of the word, from 0; from the end if negative; the first if None.
        tag: column of the tag; the last if None.

    Raises:
        UserError: if lines of a sentence have different columns, or lack one of these; if the first column numbers the
            words of each sentence and `word` is None.
    """
    first: list[list[_Line]] = []
    for rows in _blocks(path):
        rows = _without_comments(rows, -1 if tag is None else tag)
        if not rows:
            continue
        if len(first) < _SAMPLE:
            first.append(rows)
        _check(path, rows, 0 if word is None else word, -1 if tag is None else tag)
        yield f"{path}, line {rows[0][0]}", _tagged(rows, 0 if word is None else word, -1 if tag is None else tag)
    if word is None and _is_numbered(first):
        raise UserError(
            f"{path}: the first column numbers the words. Say which column they are in, from 0: "
            "--config.data.columns.word=1, and data.columns.tag where the tags are not in the last one (GermEval's "
            "outer ones: data.columns.tag=2)."
        )


def _blocks(path: Path) -> Iterator[list[_Line]]:
    """Lines that no blank line and no -DOCSTART- parts."""
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
    # Words may hold other white space, a no-break space for one.
    line = line.rstrip("\t ")
    if "\t" not in line:
        return [field for field in line.split(" ") if field]
    word, *others = line.split("\t")
    return [word, *(field for field in others if field)]


def _without_comments(rows: list[_Line], tag: int) -> list[_Line]:
    """The lines behind those that begin with # and are as no line of words is: more or fewer columns, or no tag."""
    begin = next((place for place, (_, fields) in enumerate(rows) if fields[0].split(" ")[0] != "#"), len(rows))
    width = len(rows[begin][1]) if begin < len(rows) else None
    while begin and _is_word(rows[begin - 1][1], width, tag):
        begin -= 1
    return rows[begin:]


def _is_word(fields: Sequence[str], width: int | None, tag: int) -> bool:
    """Whether a line that begins with # is a word and its tag."""
    if len(fields) == 1:
        return width == 1
    has_tag = -len(fields) <= tag < len(fields) and _TAG.fullmatch(fields[tag])
    return bool(has_tag) and width in (None, len(fields))


def _check(path: Path, rows: Sequence[_Line], word: int, tag: int) -> None:
    begin, expected = rows[0][0], len(rows[0][1])
    for number, fields in rows:
        place = f"{path}, line {number}"
        if len(fields) != expected:
            raise UserError(
                f"{place} has {len(fields)} column(s), the sentence's first line {expected} (line {begin}). Columns "
                "are separated by tabs, or by spaces in a line without tabs."
            )
        for column, what in ((word, "word"), (tag, "tag")):
            if not -len(fields) <= column < len(fields) and len(fields) > 1:
                raise UserError(
                    f"{place} has {len(fields)} columns, the {what} is looked for in column {column} (from 0): give "
                    f"--config.data.columns.{what}."
                )


def _tagged(rows: Sequence[_Line], word: int, tag: int) -> list[tuple[str, str | None]]:
    if len(rows[0][1]) == 1:
        return [(fields[0], None) for _, fields in rows]
    return [(fields[word], fields[tag]) for _, fields in rows]


def _is_numbered(sentences: Sequence[Sequence[_Line]]) -> bool:
    """Whether the first of several columns counts from 1, or from 0, in every sentence."""
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
