"""Reads text files as a stream: plain text or JSON lines, optionally compressed with gzip."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from train.data.sources.corpus import ParagraphSource, whole_files
from train.data.sources.records import check_column, matching_files, paragraphs_of
from train.errors import UserError

_LINE_PART_BYTES = 2**20  # a longer line of plain text is read in parts
_LONGEST_JSON_LINE_BYTES = 2**28  # a JSON object has to be read as a whole


def open_text(pattern: str, text_column: str) -> ParagraphSource:
    """Opens text files: `.jsonl` with one document per line, others with one paragraph per line.

    In other files, a blank line ends a document.

    Args:
        pattern: glob pattern of the files; files that end in `.gz` are decompressed.
        text_column: key of the text in an object of a `.jsonl` file.

    Raises:
        UserError: if no file matches.
    """
    files = matching_files("text", pattern)
    if binary := [path for path in files if path.suffix == ".parquet"]:
        raise UserError(f"{binary[0]} is not a text file. Give 'parquet:GLOB' instead of 'text:GLOB' for it.")

    def read() -> Iterator[str | None]:
        for path in files:
            yield from _json_documents(path, text_column) if _is_json(path) else _plain_documents(path)

    inputs: dict[str, object] = {"source": "text"}
    if any(map(_is_json, files)):
        inputs["text_column"] = text_column
        inputs["kinds"] = "".join("pj"[_is_json(path)] for path in files)  # the contents do not determine the format
    plain = not any(path.suffix == ".gz" for path in files)
    return ParagraphSource(
        inputs, files, whole_files(files), read, sum(_size(path) for path in files) if plain else None
    )


def _size(path: Path) -> int:
    """Returns the size of a file in bytes; 0 if it is missing, which is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def _plain_documents(path: Path) -> Iterator[str | None]:
    blank = True
    for number, offset, part, ends in _line_parts(path, _LINE_PART_BYTES):
        text = _decode(path, number, offset, part).strip()
        if text:
            yield text
        blank = blank and not text
        if ends:
            if blank:
                yield None
            blank = True
    yield None


def _json_documents(path: Path, text_column: str) -> Iterator[str | None]:
    for number, offset, part, ends in _line_parts(path, _LONGEST_JSON_LINE_BYTES):
        location = f"{path}, line {number}"
        if not ends:
            raise UserError(
                f"{location} is longer than {_LONGEST_JSON_LINE_BYTES // 2**20} MiB. Expected one JSON object per "
                "line, with one document each: split the document into several."
            )
        text = _decode(path, number, offset, part)
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{location} is not a JSON object ({error}). Expected one object per line, such as "
                f'{{"{text_column}": "The text of a document."}}: repair or remove the line.'
            ) from error
        if not isinstance(record, dict):
            raise UserError(
                f"{location} is a JSON {type(record).__name__}, expected an object such as "
                f'{{"{text_column}": "The text of a document."}}.'
            )
        check_column(text_column, list(record), location)
        yield from paragraphs_of(record[text_column], lambda location=location: location)


def _line_parts(path: Path, limit: int) -> Iterator[tuple[int, int, bytes, bool]]:
    """Yields (line number, offset in the line, bytes, whether the line ends); a long line is split into parts."""
    number, offset, rest = 1, 0, b""
    try:
        with _open(path) as file:
            while part := file.readline(limit):
                ends = part.endswith(b"\n") or len(part) < limit
                part, rest = (rest + part, b"") if ends else _cut(rest + part)
                if b"\0" in part:
                    raise _nul(path, number, offset + part.index(b"\0"))
                yield number, offset, part, ends
                number, offset = (number + 1, 0) if ends else (number, offset + len(part))
            if rest:
                yield number, offset, rest, True
    except EOFError as error:
        raise UserError(
            f"{path} is truncated: the compressed data ends in line {number} of the text. Download or copy it again."
        ) from error
    except (OSError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error} (at line {number}). Check the file "
            "and its permissions."
        ) from error


def _open(path: Path) -> BinaryIO:
    return io.BufferedReader(gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _cut(part: bytes) -> tuple[bytes, bytes]:
    """Splits before the last space; without a space, before the last character, which may be incomplete."""
    end = part.rfind(b" ")
    if end <= 0:
        end = len(part) - 1
        while end > len(part) - 4 and part[end] & 0xC0 == 0x80:  # a continuation byte of UTF-8
            end -= 1
    return part[:end], part[end:]


def _decode(path: Path, number: int, offset: int, part: bytes) -> str:
    try:
        return part.decode("utf-8-sig" if number == 1 and offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        plain = path.name.removesuffix(".gz")
        raise UserError(
            f"{path}, line {number} is not UTF-8 ({error.reason} at byte {offset + error.start} of the line). Convert "
            f"the file, for instance: {'zcat' if path.suffix == '.gz' else 'cat'} {path} | iconv -f latin1 -t utf-8 > "
            f"{path.with_name(plain).with_suffix('.utf8' + Path(plain).suffix)}"
        ) from error


def _nul(path: Path, number: int, offset: int) -> UserError:
    return UserError(
        f"{path}, line {number} has a NUL at byte {offset} of the line: the file is not UTF-8 text. If it is UTF-16, "
        "convert it (iconv -f utf-16 -t utf-8). If it has holes because it was not written completely, copy it again."
    )
