"""The tokenizer of a job: read from where it lies, or trained once and kept for all jobs on the same text."""

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

# Raise it when training gives other pieces of the same text.
_TRAINING_VERSION = 1
# How text is read by a tokenizer that is trained: option, field of the specification.
_TRAINING_OPTIONS = {"tokenizer_case": "case", "tokenizer_accents": "accents"}


@dataclasses.dataclass(frozen=True)
class TokenizerRequest:
    """Which tokenizer a job asks for.

    Attributes:
        source: where it lies, or train:KIND:SIZE.
        training: how it is trained; None where it is to be loaded.
        name: as the command line has it, for messages: "tokenizer=...", or the model whose own it is.
    """

    source: str
    training: "TokenizerSpec | None"
    name: str


def requested_tokenizer(values: Values) -> TokenizerRequest:
    """Which tokenizer: the option's, else the teacher's, else init_from's; of these two the first that has one.

    Raises:
        UserError: if there is none, the specification is misspelled, or options of a training are given without one.
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
            f"{', '.join(f'{option}={value}' for option, value in given.items())} is for tokenizers that are trained "
            f"(tokenizer=train:KIND:SIZE), and the one of {name} has its own way: leave it out"
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
        f"{' and '.join(f'{option}={source}' for option, source in models.items())}: no tokenizer there. Give the one "
        "that it was trained with: --config.tokenizer=..."
    )


def open_tokenizer(
    wanted: TokenizerRequest, corpus: Corpus, kept: Path | None, *, cache_dir: str | None, log: Callable[[str], None]
) -> "Tokenizer":
    """The tokenizer that a job asks for.

    One that is trained is kept in the cache under the hash of the text and the request, so that no text trains one
    twice; and a work directory keeps its own.

    Args:
        wanted: which one.
        corpus: the training split, on which alone a tokenizer is trained.
        kept: the job's own copy, which comes before training where it is there; None where it has none.
        cache_dir: root of the cache; the default one if None.
        log: takes lines for a person.

    Raises:
        UserError: if it cannot be read or kept.
    """
    from flax_lite.tokenization import Tokenizer

    try:
        found = load_requested(wanted, kept)
        return found if isinstance(found, Tokenizer) else _trained(found, corpus, cache_root(cache_dir), log)
    except ValueError as error:
        raise UserError(f"{wanted.name}: {error}") from error
    except OSError as error:
        raise UserError(
            f"{wanted.name} could not be read or kept: {error}. Check the cache {cache_root(cache_dir)}; "
            "data.cache_dir or the environment variable FLAX_LITE_CACHE names another place."
        ) from error


def load_requested(wanted: TokenizerRequest, kept: Path | None) -> "Tokenizer | TokenizerSpec":
    """The tokenizer that is there, or how it has yet to be trained.

    Raises:
        ValueError: if it cannot be read.
        OSError: likewise.
    """
    from flax_lite.tokenization import load_tokenizer

    if wanted.training is None:
        return load_tokenizer(wanted.source)
    return load_tokenizer(kept) if kept is not None and kept.is_dir() else wanted.training


def train_requested(
    spec: "TokenizerSpec", texts: Iterable[str], where: str, log: Callable[[str], None]
) -> tuple["Tokenizer", str]:
    """Trains a tokenizer, and says what it does to case and accents.

    Returns:
        It, and what to say of the same text when it is used again: nothing where dropping accents changes nothing.

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
    """Writes a tokenizer where there is none yet."""
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
    if not (directory / key).is_dir():  # one that is there is whole: nobody waits for others who read it
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
