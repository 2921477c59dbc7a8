"""Chooses the tokenizer file of a directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax_lite.files.names import (
    CONFIG,
    JSON_FILE,
    SENTENCEPIECE_FILE,
    SETTINGS_FILE,
    VOCAB_FILE,
    VOCABULARIES,
    NoTokenizerError,
)
from flax_lite.files.reading import is_there
from flax_lite.tokenization.files import read_bytes, read_json, read_json_beside
from flax_lite.tokenization.sentencepiece_model import parse_sentencepiece_model
from flax_lite.tokenization.settings import MODEL_CLASSES, class_of, tokenizer_class


def find_file(source: str | Path) -> Path:
    """Returns the tokenizer file to read: `source` itself, or the file that a directory's tokenizer class reads first.

    If no class is named, spiece.model comes first, unless a tokenizer.json beside it has a different vocabulary; then
    tokenizer.json, then vocab.txt.

    Raises:
        ValueError: if `source` does not exist, holds several candidates, or names a tokenizer class that is not
            supported. The error is a `NoTokenizerError` if there is no tokenizer file.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not path.is_dir() or not _files_in(path):
        # A lazy import, because this module imports JAX, which data workers do not need.
        from flax_lite.checkpoints.sources.resolve import tokenizer_directory

        path = tokenizer_directory(source)
    return path if path.is_file() else _choose_file(path)


def has_vocabulary(pipeline: Mapping[str, Any], pieces: Sequence[str]) -> bool:
    """Returns whether a tokenizer.json has exactly this vocabulary, added tokens not counted."""
    model = pipeline.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocab, Mapping):
        return len(vocab) == len(pieces) and all(vocab.get(piece) == id_ for id_, piece in enumerate(pieces))
    if not isinstance(vocab, list):
        return False
    return [entry[0] if isinstance(entry, list) and entry else None for entry in vocab] == list(pieces)


def _files_in(directory: Path) -> list[Path]:
    """Returns the tokenizer files of a directory; Google's releases name them 30k-clean.model or vocab_chinese.txt."""
    named = [directory / name for name in VOCABULARIES if is_there(directory / name)]
    return named or sorted([*directory.glob("*.model"), *directory.glob("vocab*.txt")])


def _choose_file(directory: Path) -> Path:
    found = _files_in(directory)
    expected = f"{SENTENCEPIECE_FILE}, {JSON_FILE} or {VOCAB_FILE}"
    if not found:
        raise NoTokenizerError(f"{directory} holds no {expected}")
    if found[0].name not in VOCABULARIES:
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ValueError(f"{directory} holds no {expected}, but several other vocabularies: {names}; name one file")
        return found[0]
    config = read_json_beside(directory, CONFIG)
    try:
        named = tokenizer_class(read_json_beside(directory, SETTINGS_FILE), config)
    except ValueError as error:
        raise ValueError(f"{directory} holds no usable tokenizer: {error}") from error
    kind = class_of(named or MODEL_CLASSES.get(str(config.get("model_type"))))
    by_name = {path.name: path for path in found}
    first = next((by_name[name] for name in (kind.files if kind else ()) if name in by_name), None)
    if first is None and named is not None and kind is not None:
        raise ValueError(
            f"{directory} names the tokenizer class {named}, which is read from {' or '.join(kind.files)}; it holds "
            f"only {', '.join(by_name)}"
        )
    first = first or found[0]
    pipeline = by_name.get(JSON_FILE)
    return pipeline if pipeline and first.suffix == ".model" and _has_other_pieces(pipeline, first) else first


def _has_other_pieces(pipeline: Path, sentencepiece: Path) -> bool:
    try:
        pieces = parse_sentencepiece_model(read_bytes(sentencepiece)).pieces
        return not has_vocabulary(read_json(pipeline), pieces)
    except ValueError:
        return False  # the SentencePiece file is read next, and that raises the error
