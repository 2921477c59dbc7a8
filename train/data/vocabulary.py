"""Rows and the models that read them: ids mean the same words to both, and each has its row in the model's tables."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flax_lite.files.names import NoTokenizerError
from train.errors import UserError
from train.options.schema import Values
from train.options.tables import RANDOM

if TYPE_CHECKING:
    from flax_lite.architecture.config import EncoderConfig
    from flax_lite.tokenization import Tokenizer

# Pieces say what ids mean; these texts show what else decides which ids a text becomes.
_PROBES = ("Über café, ÉTÉ", "I am IT.", "日本語がべんり", "मैं हूँ", "1,050 'x'")


def model_sources(values: Values) -> dict[str, str]:
    """The models whose tables a job's rows meet, by the option that names them."""
    named = {name: values.get(name) for name in ("checkpoint", "teacher", "init_from")}
    return {name: source for name, source in named.items() if source is not None and source != RANDOM}


def model_tokenizer(source: str) -> "Tokenizer | None":
    """The tokenizer beside a model; None where there is none.

    Raises:
        ValueError: if there is one that cannot be read.
    """
    from flax_lite.tokenization import load_tokenizer

    try:
        return load_tokenizer(source)
    except NoTokenizerError:
        return None


def check_vocabularies(values: Values, tokenizer: "Tokenizer", name: str, log: Callable[[str], None]) -> None:
    """`check_vocabulary` of every model that the options name."""
    for option, source in model_sources(values).items():
        if f"{option}={source}" != name:
            check_vocabulary(f"{option}={source}", source, tokenizer, name, log)


def check_vocabulary(model: str, source: str, tokenizer: "Tokenizer", name: str, log: Callable[[str], None]) -> None:
    """Sees to it that ids mean the same to rows and to a model.

    What has no tokenizer beside it is believed to belong to one that is given, and never to one that is trained.

    Args:
        model: the option that names it, as "teacher=SOURCE".
        source: the model.
        tokenizer: of the rows.
        name: the option that names the tokenizer.
        log: is told where it has the same pieces, but makes others of a text.

    Raises:
        UserError: if the model's own tokenizer has other pieces, cannot be read, or is missing where a job trains one.
    """
    try:
        own = model_tokenizer(source)
    except (ValueError, OSError) as error:
        if not _is_model(source):
            return  # what is wrong with it is said when it is opened
        raise UserError(
            f"{model} has a tokenizer that cannot be read ({error}), so nobody can tell whether the ids of {name} mean "
            "the same words to it. If they do, give a copy of it without the tokenizer's files"
        ) from error
    if own is None and name.startswith("tokenizer=train:"):
        raise UserError(
            f"{model} has no tokenizer beside it, and {name} trains one whose ids mean other words to it. Give the one "
            "that it was trained with: --config.tokenizer=..."
        )
    if own is None or own.fingerprint == tokenizer.fingerprint:
        return
    if own.pieces != tokenizer.pieces:
        raise UserError(
            f"{model} has another vocabulary than {name} ({len(own.pieces)} pieces there, {tokenizer.vocab_size} "
            f"here{_first_difference(own.pieces, tokenizer.pieces)}): ids would mean other words to it. "
            f"Give --config.tokenizer=none to take the {'teacher' if model.startswith('teacher') else 'model'}'s own"
        )
    for theirs, ours, text in zip(own.encode(_PROBES), tokenizer.encode(_PROBES), _PROBES, strict=True):
        if theirs != ours:
            shown = (" ".join(tokenizer.pieces[id_] for id_ in ids) for ids in (ours, theirs))
            log(f"note: {name} has the pieces of {model}, but makes {next(shown)!r} of {text!r}, not {next(shown)!r}")
            return


def _is_model(source: str) -> bool:
    from flax_lite.checkpoints.sources.resolve import open_source

    try:
        open_source(source)
    except (ValueError, OSError):
        return False
    return True


def _first_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    pairs = enumerate(zip(theirs, ours, strict=False))
    return next((f"; first id {at}: {there!r}, {here!r}" for at, (there, here) in pairs if there != here), "")


def check_tables(
    model: str, config: "EncoderConfig", tokenizer: "Tokenizer", *, length: int | None = None, num_types: int = 1
) -> None:
    """Sees to it that every id, position and token type of rows is within a model's tables: outside, all is NaN.

    Args:
        model: what it is, for the message, as "teacher=SOURCE".
        config: its architecture.
        tokenizer: of the rows. Published tables may have more rows than it has pieces, for round sizes.
        length: of the longest row; None where that is checked elsewhere.
        num_types: 2 where a row holds two texts.

    Raises:
        UserError: if one is not.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{model} has {config.vocab_size} word embeddings, too few for a tokenizer of {tokenizer.vocab_size} "
            "pieces. Give the tokenizer that it was trained with (--config.tokenizer=none: the one beside it)"
        )
    if length is not None and length > config.max_position_embeddings:
        raise UserError(
            f"data.sequence_length={length} is longer than the {config.max_position_embeddings} positions of {model}. "
            f"Give at most {config.max_position_embeddings}"
        )
    # A family without token types (0) reads none.
    if 0 < config.type_vocab_size < num_types:
        raise UserError(
            f"rows of two texts have token types 0 and 1, and {model} has embeddings of {config.type_vocab_size} type "
            "alone (type_vocab_size): give single texts, or another model"
        )
