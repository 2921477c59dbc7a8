"""Sets of TensorFlow Datasets that were prepared as ArrayRecord, read without TensorFlow."""

import functools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train.data.sources.corpus import Extent, ParagraphSource
from train.data.sources.records import check_column, paragraphs_of
from train.errors import UserError

_RECORDS = 64  # read at once
_NAME = re.compile(r"([\w/.+-]+(?::(?:\d+|\*)\.(?:\d+|\*)\.(?:\d+|\*))?)(?::(.+))?")


def open_tfds(argument: str, text_column: str, data_dir: str | None) -> ParagraphSource:
    """Opens one split of a prepared set as a document an example.

    Args:
        argument: NAME[/CONFIG][:VERSION][:SPLIT]; the split is `train` unless given, and may be a part: `train[:5%]`.
        text_column: the feature that holds the text.
        data_dir: where the set was prepared; tfds's own default if None.

    Raises:
        UserError: if the package is missing, or the set, its split or feature is not there.
    """
    tfds = _tensorflow_datasets()
    match = _NAME.fullmatch(argument)
    if match is None:
        raise UserError(f"data source 'tfds:{argument}' cannot be read as tfds:NAME[/CONFIG][:VERSION][:SPLIT].")
    name, split = match[1], match[2] or "train"
    builder = _find(tfds, name, data_dir)
    instructions = _instructions(builder, name, split)
    check_column(text_column, sorted(builder.info.features), f"tfds:{name}")
    extents = [(str(part.filename), part.skip, part.skip + part.take) for part in instructions]
    local = tuple(Path(path) for path in dict.fromkeys(path for path, *_ in extents) if "://" not in path)
    inputs = {
        "source": "tfds",
        "set": builder.info.full_name,
        "text_column": text_column,
        "records": [[Path(path).name, first, end] for path, first, end in extents],
    }

    def read() -> Iterator[str | None]:
        for number, record in enumerate(_records(builder, split, f"tfds:{argument}", extents)):
            where = functools.partial("tfds:{}, example {}".format, argument, number)
            yield from paragraphs_of(_plain(record[text_column]), where)

    resolved = tuple((path if "://" in path else str(Path(path).resolve()), *span) for path, *span in extents)
    return ParagraphSource(inputs, local, resolved, read, _size(instructions))


def read_examples(name: str, split: str, data_dir: str | None) -> Iterator[dict[str, Any]] | None:
    """Opens the examples of one split of a prepared set, whole.

    Args:
        name: NAME[/CONFIG][:VERSION].
        split: one of the set's.
        data_dir: as of `open_tfds`.

    Returns:
        The examples as Python values, texts as bytes; None where the set has no such split.

    Raises:
        UserError: if the package or the set is missing; while reading, if a file is damaged.
    """
    builder = _find(_tensorflow_datasets(), name, data_dir)
    if split not in builder.info.splits:
        return None
    extents = [(str(part.filename), part.skip, part.skip + part.take) for part in _instructions(builder, name, split)]
    records = _records(builder, split, f"tfds:{name}:{split}", extents)
    return ({column: _plain(value) for column, value in record.items()} for record in records)


def class_names(name: str, column: str, data_dir: str | None) -> tuple[str, ...]:
    """The names of a feature that is a class, or a list of classes; () where there is no such feature.

    Raises:
        UserError: if the package or the set is missing.
    """
    features = dict(_find(_tensorflow_datasets(), name, data_dir).info.features.items())
    feature: Any = features.get(column)
    return tuple(getattr(getattr(feature, "feature", feature), "names", None) or ())


def text_of(value: bytes, place: str) -> str:
    """The text that an example holds.

    Raises:
        UserError: if it is no UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 text ({error.reason}). Prepare the set again.") from error


def _size(instructions: list[Any]) -> float | None:
    """Bytes of the records that are read, where their files are here."""
    files = [(Path(part.filename), part.take / max(part.examples_in_shard, 1)) for part in instructions]
    if not all(path.is_file() for path, _ in files):
        return None
    return sum(path.stat().st_size * share for path, share in files)


def _find(tfds: Any, name: str, data_dir: str | None) -> Any:
    """Opens a set from its files alone: no code of the set is run, which might need TensorFlow."""
    from tensorflow_datasets.core import read_only_builder

    where = os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR)
    try:
        builder = read_only_builder.builder_from_files(name, data_dir=where)
    except ImportError as error:
        raise UserError(f"tfds:{name} in {where} cannot be opened ({error}). Copy it to a local directory.") from error
    except ValueError as error:
        raise UserError(
            f"tfds:{name} is not prepared in {where}{_prepared(Path(where), name)}. data.tfds_dir names another "
            "directory. Reading a set needs no TensorFlow, but preparing one does (wikipedia, wiki40b and c4 need "
            "apache-beam too); once, where these are installed:\n"
            f"  tfds build {name} --file_format=array_record --data_dir={shlex.quote(where)}"
        ) from error
    formats = {form.value for form in builder.info.available_file_formats()}
    if "array_record" not in formats:
        raise UserError(
            f"tfds:{name} in {builder.data_path} is prepared as {', '.join(sorted(formats)) or 'nothing'}, expected "
            "array_record, which needs no TensorFlow. Convert it once, where TensorFlow is installed:\n"
            f"  tfds convert_format --dataset_dir={shlex.quote(str(builder.data_path))} --out_file_format=array_record"
        )
    return builder


def _prepared(data_dir: Path, name: str) -> str:
    """What there is instead, for a message."""
    root = data_dir / name.partition(":")[0].partition("/")[0]
    found = sorted({path.parent.relative_to(data_dir) for path in root.glob("**/dataset_info.json")})
    if found:
        return f" (prepared there: {', '.join(map(str, found))})"
    return "" if data_dir.is_dir() else ", a directory that does not exist"


def _instructions(builder: Any, name: str, split: str) -> list[Any]:
    try:
        return list(builder.info.splits[split].file_instructions)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"tfds:{name} has no split {split!r}. It has: {', '.join(builder.info.splits)}; a part is written as "
            "train[:5%]."
        ) from error


def _records(builder: Any, split: str, name: str, extents: list[Extent]) -> Iterator[Any]:
    source = builder.as_data_source(split=split, file_format="array_record")
    for start in range(0, len(source), _RECORDS):
        yield from _fetch(source, range(start, min(start + _RECORDS, len(source))), name, extents)


def _fetch(source: Any, numbers: range, name: str, extents: list[Extent]) -> list[Any]:
    try:
        return source.__getitems__(list(numbers))
    except Exception as error:  # a damaged file raises whatever its reader, or the decoding of what it gave, raises
        before, files = 0, []
        for path, first, end in extents:
            if before < numbers.stop and before + end - first > numbers.start:
                files.append(path)
            before += end - first
        detail = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{name}, examples {numbers.start} to {numbers.stop - 1} cannot be read from {', '.join(files)}: {detail}. "
            "Check that the file is there and whole, or prepare the set again."
        ) from error


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _tensorflow_datasets() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            f"data source 'tfds:...' needs the package tensorflow-datasets ({error}). Install it: "
            "pip install -e '.[tfds]'"
        ) from error
    return tensorflow_datasets
