"""Checks of a tokenizer.json without which the `tokenizers` library would fail on some later text."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from flax_lite.tokenization.patterns import check_steps
from flax_lite.tokenization.sentencepiece_model import check_charsmap

# WordPiece tries every prefix of a word, and prepends the continuation prefix to the rest; BERT has "##" and 100.
_MAX_PREFIX, _MAX_WORD = 32, 10_000


@contextlib.contextmanager
def library_errors() -> Iterator[None]:
    """Re-raises every exception of the library as a ValueError with the same message.

    The library raises bare Exception, and PanicException where Rust panics, which derives from BaseException.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # the class cannot be imported
            raise
        raise ValueError(f"the tokenizers library panicked: {error}") from error


def check_pipeline(data: Mapping[str, Any]) -> None:
    """Checks a pipeline for parts on which the library would fail, panic or run without bound at some later text.

    These are a missing unknown piece, a character map with an index out of range, and the steps that
    `flax_lite.tokenization.patterns` refuses.

    Args:
        data: the content of a tokenizer.json that has a model with a vocabulary.

    Raises:
        ValueError: naming the part that is wrong; the caller adds the name of the file.
    """
    model = data["model"]
    vocab, unk_token, unk_id = model["vocab"], model.get("unk_token"), model.get("unk_id")
    if isinstance(vocab, dict) and (not isinstance(unk_token, str) or unk_token not in vocab):
        raise ValueError(f"its unk_token is {unk_token!r:.100}; expected a piece of its vocabulary")
    if isinstance(vocab, list) and (type(unk_id) is not int or not 0 <= unk_id < len(vocab)):
        raise ValueError(f"its unk_id is {unk_id!r:.100}; expected the id of one of its {len(vocab)} pieces")
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        check_steps(data.get(part))
    if isinstance(vocab, dict):
        _check_words(model)
    for charsmap in _charsmaps(data.get("normalizer")):
        try:
            check_charsmap(base64.b64decode(charsmap, validate=True) or b"\0")
        except (TypeError, ValueError) as error:
            raise ValueError(f"its normalizer cannot be used: {error}") from error


def _check_words(model: Mapping[str, Any]) -> None:
    """Checks the limits of a WordPiece model, whose time is quadratic in the length of a word."""
    prefix, longest = model.get("continuing_subword_prefix"), model.get("max_input_chars_per_word")
    if isinstance(prefix, str) and len(prefix) > _MAX_PREFIX:
        raise ValueError(f"its continuing_subword_prefix has {len(prefix)} characters; expected at most {_MAX_PREFIX}")
    if isinstance(longest, int) and longest > _MAX_WORD:
        raise ValueError(f"its max_input_chars_per_word is {longest}; expected at most {_MAX_WORD}")


def _charsmaps(value: Any) -> Iterator[Any]:
    """Yields SentencePiece's compiled character maps from anywhere in a normalizer."""
    if isinstance(value, dict):
        if "precompiled_charsmap" in value:
            yield value["precompiled_charsmap"]
        for each in value.values():
            yield from _charsmaps(each)
    elif isinstance(value, list):
        for each in value:
            yield from _charsmaps(each)
