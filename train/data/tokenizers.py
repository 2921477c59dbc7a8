"""The tokenizer of a job: read from where it lies, or trained once and kept for all jobs on the same text."""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flax_lite.files.staging import staged_directory
from train.data.sources import Corpus
from train.data.tokens.cache import cache_root, corpus_inputs, key_of
from train.errors import UserError
from train.machine.files import exclusive_lock
from train.options.schema import Values

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer
    from flax_lite.tokenization.training import TokenizerSpec

# Raise it when training gives other pieces of the same text.
_TRAINING_VERSION = 1


def open_tokenizer(
    spec: str, corpus: Corpus, kept: Path, *, cache_dir: str | None, say: Callable[[str], None]
) -> "Tokenizer":
    """The tokenizer that a job asks for.

    One that is trained is kept in the cache under the hash of the text and the request, so that no text trains one
    twice; and a work directory keeps its own.

    Args:
        spec: a directory, a file, a hub id, or train:KIND:SIZE.
        corpus: the training split, on which alone a tokenizer is trained.
        kept: the job's own copy, which comes before training where it is there.
        cache_dir: root of the cache; the default one if None.
        say: takes lines for a person.

    Raises:
        UserError: if it cannot be read or kept, or the specification is misspelt.
    """
    from flax_lite.tokenization import load_tokenizer, parse_tokenizer_spec

    try:
        training = parse_tokenizer_spec(spec)
        if training is None:
            return load_tokenizer(spec)
        if kept.is_dir():
            return load_tokenizer(kept)
        return _trained(training, corpus, cache_root(cache_dir), say)
    except ValueError as error:
        raise UserError(f"tokenizer={spec}: {error}") from error
    except OSError as error:
        raise UserError(
            f"tokenizer={spec} could not be read or kept: {error}. Check the cache {cache_root(cache_dir)}; "
            "data.cache_dir or the environment variable FLAX_LITE_CACHE names another place."
        ) from error


def keep_tokenizer(tokenizer: "Tokenizer", directory: Path) -> None:
    """Writes a tokenizer where there is none yet."""
    if not directory.is_dir():
        with staged_directory(directory, alone=True) as staged:
            tokenizer.save(staged)


def _trained(training: "TokenizerSpec", corpus: Corpus, root: Path, say: Callable[[str], None]) -> "Tokenizer":
    from flax_lite.tokenization import load_tokenizer, train_tokenizer

    directory = root / "tokenizers"
    directory.mkdir(parents=True, exist_ok=True)
    inputs = {"kind": training.kind, "vocab_size": training.vocab_size, "version": _TRAINING_VERSION}
    inputs["library"] = metadata.version("tokenizers")
    key = key_of(inputs | corpus_inputs(corpus, root))
    what = f"a {training.kind} tokenizer of {training.vocab_size} pieces"
    waiting = f"Waiting for another process that trains {what} on {corpus.name}."
    if not (directory / key).is_dir():  # one that is there is whole: nobody waits for others who read it
        with exclusive_lock(directory / f"{key}.lock", lambda: say(waiting)):
            if not (directory / key).is_dir():
                say(f"Training {what} on {corpus.name}.")
                texts = (paragraph for document in corpus.paragraphs() for paragraph in document)
                keep_tokenizer(train_tokenizer(texts, training.kind, training.vocab_size), directory / key)
    return load_tokenizer(directory / key)


def tokenizer_spec(values: Values) -> str:
    """Which tokenizer: the leaf's, else the teacher's, else init_from's.

    Raises:
        UserError: if there is neither.
    """
    spec = values["tokenizer"] or values.get("teacher") or values["init_from"]
    if spec is None:
        raise UserError("tokenizer is missing: give one (--config.tokenizer=...), or a model to start from (init_from)")
    return spec
