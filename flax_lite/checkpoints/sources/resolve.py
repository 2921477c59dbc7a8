"""SOURCE: the name of a model, in every command, option and function that takes one.

- a directory in any supported format, or the prefix of a TensorFlow checkpoint;
- a work directory (its newest checkpoint), `WORKDIR@STEP`, `WORKDIR@best`;
- a hub id, `NAME` or `OWNER/NAME`, optionally with `@REVISION`.

Local files take precedence: a directory named `albert-base-v2` is opened even though the hub has a model of this name.
"""

import os
from collections.abc import Callable
from pathlib import Path

from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.sentence_transformers import SentenceLayout, read_sentence_transformers, tokenizers_length
from flax_lite.checkpoints.sources.directory import open_directory
from flax_lite.checkpoints.sources.hub import (
    HubId,
    fetch_model,
    fetch_sentence_transformers,
    fetch_tokenizer,
    parse_hub_id,
)
from flax_lite.checkpoints.sources.work_directory import (
    is_work_directory,
    open_work_directory,
    work_directory_config,
)
from flax_lite.files.names import NoTokenizerError
from flax_lite.files.reading import wait_for_replacement

Source = str | os.PathLike[str]

DELIVERED = "model"  # directory of the final model in the work directory of a finished job


def open_source(source: Source | Checkpoint) -> Checkpoint:
    """Opens the checkpoint of a SOURCE; an open checkpoint is returned unchanged, so that all is read from one step.

    Raises:
        ValueError: if there is no such model, or it cannot be read.
    """
    if isinstance(source, Checkpoint):
        return source
    text = os.path.expanduser(source)
    is_local = wait_for_replacement(Path(text)) or _is_prefix(text)
    work = _work_directory(text)
    if work is not None:
        return open_work_directory(*work)
    return open_directory(Path(text) if is_local else _fetched(text, fetch_model))


def source_config(source: Source) -> EncoderConfig:
    """Returns the architecture of a SOURCE without reading its weights; raises as `open_source`."""
    work = _work_directory(os.path.expanduser(source))
    return open_source(source).config if work is None else work_directory_config(*work)


def _work_directory(text: str) -> tuple[Path, str | None] | None:
    """Returns the work directory that a SOURCE names and what follows its @, if it names one."""
    base, _, which = text.rpartition("@")
    if is_work_directory(Path(text)):
        return Path(text), None
    return (Path(base), which) if base and not Path(text).exists() and is_work_directory(Path(base)) else None


def tokenizer_directory(source: Source) -> Path:
    """Returns the file or directory of a SOURCE's tokenizer; for a work directory, the tokenizer that its job stored.

    Raises:
        ValueError: if the source is a hub id that cannot be fetched.
    """
    text = os.path.expanduser(source)
    path, work = Path(text), _work_directory(text)
    if work is not None:
        return next((work[0] / name for name in ("tokenizer", DELIVERED) if (work[0] / name).is_dir()), work[0])
    if path.exists():
        return path
    return path.parent if _is_prefix(text) else _fetched(text, fetch_tokenizer)


def sentence_transformers_layout(source: Source) -> SentenceLayout | None:
    """Returns how a SOURCE computes text vectors, or None if it does not say so: see `read_sentence_transformers`.

    For a work directory, the final model of its job is read.

    Raises:
        ValueError: as `read_sentence_transformers`, or if the source is a hub id that cannot be fetched.
    """
    directory = sentence_transformers_directory(source)
    return None if directory is None else read_sentence_transformers(directory)


def sentence_length(source: Source) -> int | None:
    """Returns the maximum length in the tokenizer's settings of a SOURCE; raises as `tokenizers_length`."""
    directory = sentence_transformers_directory(source)
    return None if directory is None else tokenizers_length(directory)


def sentence_transformers_directory(source: Source) -> Path | None:
    """Returns the directory that `sentence_transformers_layout` reads, if there is one; raises like it."""
    text = os.path.expanduser(source)
    work = _work_directory(text)
    if work is not None:
        return work[0] / DELIVERED
    if Path(text).exists():
        return Path(text)
    return None if _is_prefix(text) else _fetched(text, fetch_sentence_transformers)


def _is_prefix(text: str) -> bool:
    """Whether the text is the prefix of a TensorFlow checkpoint, the common part of its file names."""
    return Path(f"{text}.index").exists()


def _fetched(text: str, fetch: Callable[[HubId], Path]) -> Path:
    hub_id = parse_hub_id(text)
    if hub_id is None:
        raise ValueError(
            f"{text!r} is neither a directory nor a model id of the hub (NAME or OWNER/NAME, optionally with @REVISION)"
        )
    try:
        return fetch(hub_id)
    except ValueError as error:
        kind = NoTokenizerError if isinstance(error, NoTokenizerError) else ValueError
        raise kind(f"there is no directory {text!r}, and from the hub: {error}") from error
