"""Checks that the tokenizer of the rows fits the models that read them: same vocabulary, ids within their tables."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flax_lite.files.names import NoTokenizerError
from train.errors import UserError
from train.options.schema import Values
from train.options.tables import RANDOM

if TYPE_CHECKING:
    from flax_lite.architecture.config import EncoderConfig
    from flax_lite.tokenization import Tokenizer

# Two tokenizers with the same pieces may still normalize or split text differently, which these texts reveal.
_PROBES = ("Über café, ÉTÉ", "I am IT.", "日本語がべんり", "मैं हूँ", "1,050 'x'")


def model_sources(values: Values) -> dict[str, str]:
    """Returns the models that read the rows of a job, by the option that names them."""
    named = {name: values.get(name) for name in ("checkpoint", "teacher", "init_from")}
    return {name: source for name, source in named.items() if source is not None and source != RANDOM}


def model_tokenizer(source: str) -> "Tokenizer | None":
    """Loads the tokenizer saved with a model; returns None if there is none.

    Raises:
        ValueError: if it cannot be read.
    """
    from flax_lite.tokenization import load_tokenizer

    try:
        return load_tokenizer(source)
    except NoTokenizerError:
        return None


def check_vocabularies(values: Values, tokenizer: "Tokenizer", name: str, log: Callable[[str], None]) -> None:
    """Calls `check_vocabulary` for every model that the options name."""
    for option, source in model_sources(values).items():
        if f"{option}={source}" != name:
            check_vocabulary(f"{option}={source}", source, tokenizer, name, log)


def check_vocabulary(model: str, source: str, tokenizer: "Tokenizer", name: str, log: Callable[[str], None]) -> None:
    """Checks that the ids of the rows mean the same tokens to a model.

    A model without a tokenizer is assumed to fit a tokenizer that is loaded, but not one that is trained.

    Args:
        model: the option that names the model, such as "teacher=SOURCE", for messages.
        source: the model.
        tokenizer: the tokenizer of the rows.
        name: the option that names the tokenizer, for messages.
        log: receives a line if both have the same vocabulary but tokenize a text differently.

    Raises:
        UserError: if the model's tokenizer has another vocabulary, cannot be read, or is missing while the job trains
            its own.
    """
    try:
        expected = model_tokenizer(source)
    except (ValueError, OSError) as error:
        if not _is_model(source):
            return  # opening the model reports the error
        raise UserError(
            f"{model} has a tokenizer that cannot be read ({error}), so it is unknown whether the ids of {name} mean "
            "the same tokens to the model. If they do, give a copy of the model without the tokenizer's files"
        ) from error
    if expected is None and name.startswith("tokenizer=train:"):
        raise UserError(
            f"{model} has no tokenizer beside it, and {name} trains one whose ids mean other tokens to the model. Give "
            "the tokenizer that the model was trained with: --config.tokenizer=..."
        )
    if expected is None or expected.fingerprint == tokenizer.fingerprint:
        return
    if expected.pieces != tokenizer.pieces:
        raise UserError(
            f"{model} has another vocabulary than {name} ({len(expected.pieces)} pieces there, {tokenizer.vocab_size} "
            f"here{_first_difference(expected.pieces, tokenizer.pieces)}), so ids would mean other tokens to the "
            "model. Give --config.tokenizer=none to use the tokenizer of the "
            f"{'teacher' if model.startswith('teacher') else 'model'}"
        )
    for model_ids, row_ids, text in zip(expected.encode(_PROBES), tokenizer.encode(_PROBES), _PROBES, strict=True):
        if model_ids != row_ids:
            found, wanted = (" ".join(tokenizer.pieces[id_] for id_ in ids) for ids in (row_ids, model_ids))
            log(f"note: {name} has the vocabulary of {model}, but tokenizes {text!r} as {found!r}, not {wanted!r}")
            return


def _is_model(source: str) -> bool:
    from flax_lite.checkpoints.sources.resolve import open_source

    try:
        open_source(source)
    except (ValueError, OSError):
        return False
    return True


def _first_difference(model_pieces: Sequence[str], row_pieces: Sequence[str]) -> str:
    pairs = enumerate(zip(model_pieces, row_pieces, strict=False))
    return next((f"; first id {id_}: {there!r}, {here!r}" for id_, (there, here) in pairs if there != here), "")


def check_tables(
    model: str, config: "EncoderConfig", tokenizer: "Tokenizer", *, length: int | None = None, num_types: int = 1
) -> None:
    """Checks that every id, position and token type of the rows is within the embedding tables of a model.

    An embedding lookup beyond its table returns NaN.

    Args:
        model: the option that names the model, such as "teacher=SOURCE", for messages.
        config: the model's configuration.
        tokenizer: the tokenizer of the rows. Published word embeddings may have more rows than the vocabulary, because
            their number is rounded up.
        length: length of the longest row; None if it is checked elsewhere.
        num_types: 2 if a row holds two texts, else 1.

    Raises:
        UserError: if an id, position or token type is out of range.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{model} has {config.vocab_size} word embeddings, too few for a tokenizer of {tokenizer.vocab_size} "
            "pieces. Give the tokenizer that the model was trained with (--config.tokenizer=none: the one beside it)"
        )
    if length is not None and length > config.max_position_embeddings:
        raise UserError(
            f"data.sequence_length={length} is longer than the {config.max_position_embeddings} positions of {model}. "
            f"Give at most {config.max_position_embeddings}"
        )
    # A family without token types (type_vocab_size 0) ignores them.
    if 0 < config.type_vocab_size < num_types:
        raise UserError(
            f"rows of two texts have token types 0 and 1, but {model} has an embedding for {config.type_vocab_size} "
            "token type only (type_vocab_size). Give single texts, or another model"
        )
