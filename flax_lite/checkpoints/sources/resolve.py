"""SOURCE: one way to name a model, wherever one is named.

- a directory in any supported format, or the prefix of a TensorFlow checkpoint;
- a work directory (its newest checkpoint), `WORKDIR@STEP`, `WORKDIR@best`;
- a hub id, `NAME` or `OWNER/NAME`, with `@REVISION` if wanted.

What exists here comes first: a directory called `albert-base-v2` is opened even though the hub has such a model too.
"""

import os
from collections.abc import Callable
from pathlib import Path

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
from flax_lite.checkpoints.sources.work_directory import is_work_directory, open_work_directory
from flax_lite.files.names import NoTokenizerError
from flax_lite.files.reading import wait_for_replacement

Source = str | os.PathLike[str]

DELIVERED = "model"  # the model that a finished job puts into its work directory


def open_source(source: Source | Checkpoint) -> Checkpoint:
    """Opens the checkpoint that a SOURCE names; one that is open is handed on, so that all is read of the same step.

    Raises:
        ValueError: if nothing is there, or nothing that can be read.
    """
    if isinstance(source, Checkpoint):
        return source
    text = os.path.expanduser(source)
    path = Path(text)
    here = wait_for_replacement(path) or _is_prefix(text)
    if is_work_directory(path):
        return open_work_directory(path)
    base, _, which = text.rpartition("@")
    if not here and base and is_work_directory(Path(base)):
        return open_work_directory(Path(base), which)
    return open_directory(path if here else _fetched(text, fetch_model))


def tokenizer_directory(source: Source) -> Path:
    """The file or directory to read a SOURCE's tokenizer from: of a work directory, what its job keeps of it.

    Raises:
        ValueError: if the source is a hub id that cannot be fetched.
    """
    text = os.path.expanduser(source)
    path = Path(text)
    base = Path(text.rpartition("@")[0] or text)
    work = next((each for each in (path, base) if is_work_directory(each)), None)
    if work is not None:
        return next((work / name for name in ("tokenizer", DELIVERED) if (work / name).is_dir()), work)
    if path.exists():
        return path
    return path.parent if _is_prefix(text) else _fetched(text, fetch_tokenizer)


def sentence_transformers_layout(source: Source) -> SentenceLayout | None:
    """How a SOURCE says that vectors of texts are made, if it does: see `read_sentence_transformers`.

    Of a work directory, as the model says that its job has delivered.

    Raises:
        ValueError: as there, or if the source is a hub id that cannot be fetched.
    """
    directory = sentence_transformers_directory(source)
    return None if directory is None else read_sentence_transformers(directory)


def sentence_length(source: Source) -> int | None:
    """Tokens of a text where nothing but the tokenizer says how many: see `tokenizers_length`; raises as there."""
    directory = sentence_transformers_directory(source)
    return None if directory is None else tokenizers_length(directory)


def sentence_transformers_directory(source: Source) -> Path | None:
    """The directory that `sentence_transformers_layout` looks into, if there is one; raises as there."""
    text = os.path.expanduser(source)
    base = Path(text.rpartition("@")[0] or text)
    work = next((each for each in (Path(text), base) if is_work_directory(each)), None)
    if work is not None:
        return work / DELIVERED
    if Path(text).exists():
        return Path(text)
    return None if _is_prefix(text) else _fetched(text, fetch_sentence_transformers)


def _is_prefix(text: str) -> bool:
    """Whether it is the common beginning of a TensorFlow checkpoint's file names, by which such a thing is named."""
    return Path(f"{text}.index").exists()


def _fetched(text: str, fetch: Callable[[HubId], Path]) -> Path:
    hub_id = parse_hub_id(text)
    if hub_id is None:
        raise ValueError(
            f"{text!r} is neither a directory nor the id of a model on the hub (NAME or OWNER/NAME, with @REVISION)"
        )
    try:
        return fetch(hub_id)
    except ValueError as error:
        kind = NoTokenizerError if isinstance(error, NoTokenizerError) else ValueError
        raise kind(f"there is no directory {text!r}, and from the hub: {error}") from error
