"""Which of a directory's files is its tokenizer."""

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
    """The file to begin with: the source itself, or of a directory the one that its tokenizer's class reads first.

    Where no class is named, spiece.model comes first, unless the tokenizer.json beside it has other pieces; then
    tokenizer.json, then vocab.txt.

    Raises:
        ValueError: nothing there, several tokenizer files, or a class that is not supported; a `NoTokenizerError` where
            there is none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not path.is_dir() or not _files_in(path):
        # Imported here: it brings JAX along, which processes that only tokenize do without.
        from flax_lite.checkpoints.sources.resolve import tokenizer_directory

        path = tokenizer_directory(source)
    return path if path.is_file() else _choose_file(path)


def has_vocabulary(pipeline: Mapping[str, Any], pieces: Sequence[str]) -> bool:
    """Whether a tokenizer.json is a conversion of a vocabulary; tokens added to either do not count."""
    model = pipeline.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocab, Mapping):
        return len(vocab) == len(pieces) and all(vocab.get(piece) == id_ for id_, piece in enumerate(pieces))
    if not isinstance(vocab, list):
        return False
    return [entry[0] if isinstance(entry, list) and entry else None for entry in vocab] == list(pieces)


def _files_in(directory: Path) -> list[Path]:
    """A directory's vocabularies; Google's releases have others' names: 30k-clean.model, vocab_chinese.txt."""
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
            raise ValueError(f"{directory} holds no {expected}; it holds several: {names}, name one")
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
            f"{', '.join(by_name)}"
        )
    first = first or found[0]
    pipeline = by_name.get(JSON_FILE)
    return pipeline if pipeline and first.suffix == ".model" and _has_other_pieces(pipeline, first) else first


def _has_other_pieces(pipeline: Path, sentencepiece: Path) -> bool:
    try:
        pieces = parse_sentencepiece_model(read_bytes(sentencepiece)).pieces
        return not has_vocabulary(read_json(pipeline), pieces)
    except ValueError:
        return False  # the SentencePiece file is read next: what is wrong with it is said there
