"""Copies the files of a SOURCE that affect results besides the weights: tokenizer and sentence-transformers files."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from flax_lite.checkpoints.checkpoint import GOOGLE, Checkpoint
from flax_lite.checkpoints.sentence_transformers import sentence_transformers_files
from flax_lite.checkpoints.sources.directory import HEAD_FILE
from flax_lite.checkpoints.sources.resolve import open_source, sentence_transformers_directory, tokenizer_directory
from flax_lite.checkpoints.sources.work_directory import is_work_directory
from flax_lite.files.names import (
    CHINESE_VOCAB_FILE,
    CONFIG,
    MAX_TOKENIZER_BYTES,
    SENTENCEPIECE_FILE,
    TOKENIZER_FILES,
    VOCAB_FILE,
)
from flax_lite.files.reading import copy_file, is_there, read_consistently

_MAX_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Companions:
    """Copies of the files, by their paths in a directory of Hugging Face's layout.

    Attributes:
        tokenizer: files of the tokenizer.
        sentences: files of sentence-transformers; empty if they have unsupported settings.
        notes: messages about other files of the source, and about unsupported settings.
    """

    tokenizer: Mapping[str, Path]
    sentences: Mapping[str, Path]
    notes: Sequence[str]


def open_with_companions(source: str, folder: Path) -> tuple[Checkpoint, Companions]:
    """Opens a SOURCE, and copies its other files to a folder, all from one save.

    Raises:
        ValueError: if the source cannot be read, or a file is not a regular one or links out of its directory.
    """
    return read_consistently(Path(source).expanduser(), lambda: _opened(source, folder))


def _opened(source: str, folder: Path) -> tuple[Checkpoint, Companions]:
    checkpoint = open_source(source)
    tokenizer = _tokenizer_files(source)
    sentences, notes = _sentence_files(source)
    notes += _others(source, checkpoint, [*tokenizer.values(), *sentences.values()])
    return checkpoint, Companions(copied(tokenizer, folder), copied(sentences, folder), notes)


def copied(files: Mapping[str, Path], directory: Path) -> dict[str, Path]:
    """Copies small files to their paths in a directory; raises ValueError as `flax_lite.files.reading.copy_file`."""
    for name, file in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        copy_file(file, directory / name, MAX_TOKENIZER_BYTES)
    return {name: directory / name for name in files}


def _tokenizer_files(source: str) -> dict[str, Path]:
    """Returns the files by the names that Hugging Face uses; Google's releases have other names."""
    directory = tokenizer_directory(source)
    directory = directory if directory.is_dir() else directory.parent
    files = {name: directory / name for name in TOKENIZER_FILES if is_there(directory / name)}
    models = sorted(directory.glob("*.model"))
    if SENTENCEPIECE_FILE not in files and len(models) == 1:  # 30k-clean.model
        files[SENTENCEPIECE_FILE] = models[0]
    if VOCAB_FILE not in files and is_there(directory / CHINESE_VOCAB_FILE):
        files[VOCAB_FILE] = directory / CHINESE_VOCAB_FILE
    return files


def _sentence_files(source: str) -> tuple[dict[str, Path], list[str]]:
    try:
        directory = sentence_transformers_directory(source)
        return {} if directory is None else sentence_transformers_files(directory), []
    except ValueError as error:
        return {}, [f"did not copy the sentence-transformers files: {error}"]


def _others(source: str, checkpoint: Checkpoint, copied_files: Collection[Path]) -> list[str]:
    """Returns a message about the files of a directory that are not copied, such as weights in another format."""
    directory = Path(source).expanduser()
    if not directory.is_dir() or is_work_directory(directory):
        return []
    stem, _, ending = checkpoint.path.name.partition(".")
    read = (CONFIG, HEAD_FILE, f"{stem}*.{ending.split('.')[0]}*")
    read += ("*bert_config*.json", "checkpoint") if checkpoint.convention is GOOGLE else ()
    paths = (checkpoint.path, *copied_files)
    taken = {path.relative_to(directory).parts[0] for path in paths if path.is_relative_to(directory)}
    entries = [entry for entry in sorted(directory.iterdir()) if not entry.name.startswith(".")]
    names = [
        f"{entry.name}{'/' * entry.is_dir()}"
        for entry in entries
        if entry.name not in taken and not any(entry.match(pattern) for pattern in read)
    ]
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return [f"did not copy: {', '.join(names[:_MAX_NAMED])}{more}"] if names else []
