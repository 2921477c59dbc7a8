"""Reads data sets of TensorFlow Datasets that were prepared as ArrayRecord, without TensorFlow."""

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

_RECORDS = 64  # read at a time
_NAME = re.compile(r"([\w/.+-]+(?::(?:\d+|\*)\.(?:\d+|\*)\.(?:\d+|\*))?)(?::(.+))?")


def open_tfds(argument: str, text_column: str, data_dir: str | None) -> ParagraphSource:
    """Opens one split of a prepared data set with one document per example.

    Args:
        argument: NAME[/CONFIG][:VERSION][:SPLIT]; the split is `train` by default, and may be a slice: `train[:5%]`.
        text_column: the feature that holds the text.
        data_dir: directory of the prepared data sets; the default of tfds if None.

    Raises:
        UserError: if the package, the data set, its split or its feature is missing.
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
    """Opens one split of a prepared data set with all features of its examples.

    Args:
        name: NAME[/CONFIG][:VERSION].
        split: the name of a split.
        data_dir: as in `open_tfds`.

    Returns:
        The examples as Python values, with texts as bytes; None if there is no such split.

    Raises:
        UserError: if the package or the data set is missing; while reading, if a file is damaged.
    """
    builder = _find(_tensorflow_datasets(), name, data_dir)
    if split not in builder.info.splits:
        return None
    extents = [(str(part.filename), part.skip, part.skip + part.take) for part in _instructions(builder, name, split)]
    records = _records(builder, split, f"tfds:{name}:{split}", extents)
    return ({column: _plain(value) for column, value in record.items()} for record in records)


def class_names(name: str, column: str, data_dir: str | None) -> tuple[str, ...]:
    """Returns the class names of a feature that is a class or a list of classes; () if there is no such feature.

    Raises:
        UserError: if the package or the data set is missing.
    """
    features = dict(_find(_tensorflow_datasets(), name, data_dir).info.features.items())
    feature: Any = features.get(column)
    return tuple(getattr(getattr(feature, "feature", feature), "names", None) or ())


def text_of(value: bytes, location: str) -> str:
    """Decodes a text of an example.

    Raises:
        UserError: if it is not UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{location} is not UTF-8 text ({error.reason}). Prepare the data set again.") from error


def _size(instructions: list[Any]) -> float | None:
    """Returns the bytes of the records that are read; None if a file is not local."""
    files = [(Path(part.filename), part.take / max(part.examples_in_shard, 1)) for part in instructions]
    if not all(path.is_file() for path, _ in files):
        return None
    return sum(path.stat().st_size * share for path, share in files)


def _find(tfds: Any, name: str, data_dir: str | None) -> Any:
    """Opens a data set from its files, without running its own code, which might need TensorFlow."""
    from tensorflow_datasets.core import read_only_builder

    where = os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR)
    try:
        builder = read_only_builder.builder_from_files(name, data_dir=where)
    except ImportError as error:
        raise UserError(f"tfds:{name} in {where} cannot be opened ({error}). Copy it to a local directory.") from error
    except ValueError as error:
        raise UserError(
            f"tfds:{name} is not prepared in {where}{_prepared(Path(where), name)}. data.tfds_dir names another "
            "directory. Reading a data set needs no TensorFlow, but preparing one does (wikipedia, wiki40b and c4 also "
            "need apache-beam). Prepare it once where they are installed:\n"
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
    """Lists the prepared configurations of the data set, for a message."""
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
            f"tfds:{name} has no split {split!r}. It has: {', '.join(builder.info.splits)}; a slice is written as "
            "train[:5%]."
        ) from error


def _records(builder: Any, split: str, name: str, extents: list[Extent]) -> Iterator[Any]:
    source = builder.as_data_source(split=split, file_format="array_record")
    for start in range(0, len(source), _RECORDS):
        yield from _fetch(source, range(start, min(start + _RECORDS, len(source))), name, extents)


def _fetch(source: Any, numbers: range, name: str, extents: list[Extent]) -> list[Any]:
    try:
        return source.__getitems__(list(numbers))
    except Exception as error:  # of a damaged file, reading or decoding may raise anything
        offset, files = 0, []
        for path, first, end in extents:
            if offset < numbers.stop and offset + end - first > numbers.start:
                files.append(path)
            offset += end - first
        detail = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{name}, examples {numbers.start} to {numbers.stop - 1} cannot be read from {', '.join(files)}: {detail}. "
            "Check that the file exists and is complete, or prepare the data set again."
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
