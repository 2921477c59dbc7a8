"""The tokenizer of a job: loaded from a directory, file or hub id, or trained once and cached for the same text."""

import dataclasses
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flax_lite.files.staging import staged_directory
from train.data.sources import Corpus
from train.data.tokens.cache import cache_key, cache_root, corpus_inputs
from train.data.vocabulary import model_sources, model_tokenizer
from train.errors import UserError
from train.machine.files import exclusive_lock
from train.options.schema import Values

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer
    from flax_lite.tokenization.normalization import Normalization
    from flax_lite.tokenization.training import TokenizerSpec

# Raise it when training produces different pieces from the same text.
_TRAINING_VERSION = 1
# Options that apply to a tokenizer that is trained, and the fields of the specification that they set.
_TRAINING_OPTIONS = {"tokenizer_case": "case", "tokenizer_accents": "accents"}


@dataclasses.dataclass(frozen=True)
class TokenizerRequest:
    """The tokenizer that a job's options request.

    Attributes:
        source: its directory, file or hub id, or train:KIND:SIZE.
        training: the specification for training; None if the tokenizer is loaded.
        name: the option that requests it, for messages: "tokenizer=...", or the model that it belongs to.
    """

    source: str
    training: "TokenizerSpec | None"
    name: str


def requested_tokenizer(values: Values) -> TokenizerRequest:
    """Returns the tokenizer that the options request: `tokenizer`, else that of the teacher, else that of `init_from`.

    Raises:
        UserError: if no option names a tokenizer, the specification is misspelled, or options for training are given
            for a tokenizer that is loaded.
    """
    from flax_lite.tokenization import parse_tokenizer_spec

    source = values["tokenizer"]
    name = f"tokenizer={source}"
    if source is None:
        option, source = _model_with_tokenizer(values)
        name = f"{option}={source}"
    given = {option: values[option] for option in _TRAINING_OPTIONS if values.get(option) is not None}
    try:
        training = parse_tokenizer_spec(source)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    if training is None and given:
        raise UserError(
            f"{', '.join(f'{option}={value}' for option, value in given.items())} applies only to a tokenizer that is "
            f"trained (tokenizer=train:KIND:SIZE); {name} is loaded as it is. Remove the option"
        )
    if training is not None:
        training = dataclasses.replace(
            training, **{_TRAINING_OPTIONS[option]: value for option, value in given.items()}
        )
    return TokenizerRequest(source, training, name)


def _model_with_tokenizer(values: Values) -> tuple[str, str]:
    models = model_sources(values)
    if not models:
        raise UserError("tokenizer is missing: give one (--config.tokenizer=...), or a model to start from (init_from)")
    for option, source in models.items():
        try:
            if model_tokenizer(source) is not None:
                return option, source
        except (ValueError, OSError) as error:
            raise UserError(f"{option}={source}: {error}") from error
    raise UserError(
        f"{' and '.join(f'{option}={source}' for option, source in models.items())}: no tokenizer there. Give the "
        "tokenizer that the model was trained with: --config.tokenizer=..."
    )


def open_tokenizer(
    wanted: TokenizerRequest, corpus: Corpus, kept: Path | None, *, cache_dir: str | None, log: Callable[[str], None]
) -> "Tokenizer":
    """Loads the requested tokenizer, or trains it.

    A trained tokenizer is cached under a hash of the text and the specification, so that it is trained only once.

    Args:
        wanted: the request.
        corpus: the training split, the only text that a tokenizer is trained on.
        kept: the copy in the job's work directory, which is used instead of training if it exists; None if the job
            keeps no copy.
        cache_dir: root of the cache; the default if None.
        log: receives progress lines.

    Raises:
        UserError: if the tokenizer cannot be read or written.
    """
    from flax_lite.tokenization import Tokenizer

    try:
        found = load_requested(wanted, kept)
        return found if isinstance(found, Tokenizer) else _trained(found, corpus, cache_root(cache_dir), log)
    except ValueError as error:
        raise UserError(f"{wanted.name}: {error}") from error
    except OSError as error:
        raise UserError(
            f"{wanted.name} could not be read or written: {error}. Check the cache directory {cache_root(cache_dir)}; "
            "data.cache_dir or the environment variable FLAX_LITE_CACHE names another one."
        ) from error


def load_requested(wanted: TokenizerRequest, kept: Path | None) -> "Tokenizer | TokenizerSpec":
    """Loads the requested tokenizer if it exists; returns the specification if it has yet to be trained.

    Raises:
        ValueError: if a file of the tokenizer is malformed.
        OSError: if a file cannot be read.
    """
    from flax_lite.tokenization import load_tokenizer

    if wanted.training is None:
        return load_tokenizer(wanted.source)
    return load_tokenizer(kept) if kept is not None and kept.is_dir() else wanted.training


def train_requested(
    spec: "TokenizerSpec", texts: Iterable[str], where: str, log: Callable[[str], None]
) -> tuple["Tokenizer", str]:
    """Trains a tokenizer and logs how it treats case and accents.

    Returns:
        The tokenizer, and the line to log when it is loaded again: empty if the text has no accents or control
        characters that it removes.

    Raises:
        ValueError: as `flax_lite.tokenization.train_tokenizer`.
    """
    from flax_lite.tokenization import train_tokenizer

    log(f"Training {_described(spec)} on {where}.")
    remarks: list[str] = []

    def report(found: "Normalization") -> None:
        line = f"tokenizer: {found} ({' and '.join(_TRAINING_OPTIONS)} choose)"
        remarks.append(line if found.accents or found.controls else "")
        log(line)

    tokenizer = train_tokenizer(texts, spec.kind, spec.vocab_size, case=spec.case, accents=spec.accents, report=report)
    return tokenizer, remarks[0]


def _described(spec: "TokenizerSpec") -> str:
    return f"a {spec.kind} tokenizer of {spec.vocab_size} pieces"


def save_tokenizer(tokenizer: "Tokenizer", directory: Path) -> None:
    """Saves a tokenizer unless the directory exists."""
    if not directory.is_dir():
        with staged_directory(directory, alone=True) as staged:
            tokenizer.save(staged)


def _trained(spec: "TokenizerSpec", corpus: Corpus, root: Path, log: Callable[[str], None]) -> "Tokenizer":
    from flax_lite.tokenization import load_tokenizer

    directory = root / "tokenizers"
    directory.mkdir(parents=True, exist_ok=True)
    inputs = {**dataclasses.asdict(spec), "version": _TRAINING_VERSION, "library": metadata.version("tokenizers")}
    key = cache_key(inputs | corpus_inputs(corpus, root))
    remarks = directory / f"{key}.txt"
    waiting = f"Waiting for another process that trains {_described(spec)} on {corpus.name}."
    if not (directory / key).is_dir():  # an existing directory is complete: reading it needs no lock
        with exclusive_lock(directory / f"{key}.lock", lambda: log(waiting)):
            if not (directory / key).is_dir():
                texts = (paragraph for document in corpus.paragraphs() for paragraph in document)
                tokenizer, remark = train_requested(spec, texts, corpus.name, log)
                if remark:
                    remarks.write_text(remark, encoding="utf-8")
                save_tokenizer(tokenizer, directory / key)
                return load_tokenizer(directory / key)
    if remarks.is_file():
        log(remarks.read_text(encoding="utf-8"))
    return load_tokenizer(directory / key)
