"""Reads Parquet files with pyarrow, a few rows at a time."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from train.data.sources.corpus import ParagraphSource, whole_files
from train.data.sources.records import check_column, matching_files, paragraphs_of
from train.errors import UserError

_ROWS = 64  # decoded at a time: books of one megabyte then need less than 100 MB


def open_parquet(pattern: str, text_column: str) -> ParagraphSource:
    """Opens Parquet files with one document per row.

    Args:
        pattern: glob pattern of the files.
        text_column: the column of the text: texts, or lists of sentences or paragraphs.

    Raises:
        UserError: if no file matches, or pyarrow is not installed.
    """
    _pyarrow()
    files = matching_files("parquet", pattern)

    def read() -> Iterator[str | None]:
        for path in files:
            yield from _documents(path, text_column)

    inputs: dict[str, object] = {"source": "parquet", "text_column": text_column}
    return ParagraphSource(inputs, files, whole_files(files), read, _size(files, text_column))


def _size(files: Sequence[Path], text_column: str) -> float | None:
    """Returns the bytes of text from the metadata of the files; None if a file cannot be read (reported later)."""
    arrow, parquet = _pyarrow()
    try:
        return float(sum(_column_bytes(parquet.read_metadata(path), text_column) for path in files))
    except (OSError, arrow.ArrowException):
        return None


def _column_bytes(metadata: Any, text_column: str) -> int:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(
        column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] == text_column
    )


def _documents(path: Path, text_column: str) -> Iterator[str | None]:
    arrow, parquet = _pyarrow()
    row = 0
    try:
        # Without buffer_size, or with pre_buffer, pyarrow reads the column of a whole row group, however large it is.
        with parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            _check_schema(file.schema_arrow, text_column, path)
            for batch in file.iter_batches(_ROWS, columns=[text_column], use_threads=False):
                for scalar in batch.column(0):
                    yield from paragraphs_of(scalar.as_py(), functools.partial("{}, row {}".format, path, row))
                    row += 1
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, row {row}: the text is not UTF-8 ({error}). Write the file again.") from error
    except (OSError, arrow.ArrowException) as error:
        detail = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(f"{path} cannot be read (at row {row}): {detail}. Check the file, or get it again.") from error


def _check_schema(schema: Any, text_column: str, path: Path) -> None:
    arrow, _ = _pyarrow()
    check_column(text_column, schema.names, str(path))
    found = schema.field(text_column).type
    if not _is_text(arrow.types, found):
        texts = [field.name for field in schema if _is_text(arrow.types, field.type)]
        raise UserError(
            f"{path}: column {text_column!r} (data.text_column) is of type {found}, expected text or a list of texts. "
            f"Columns of text: {', '.join(texts) or 'none'}."
        )


def _is_text(types: Any, form: Any) -> bool:
    if types.is_list(form) or types.is_large_list(form) or types.is_dictionary(form):
        form = form.value_type
    return types.is_string(form) or types.is_large_string(form) or types.is_string_view(form)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"data source 'parquet:...' needs the package pyarrow ({error}). Install it: pip install -e '.[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet
