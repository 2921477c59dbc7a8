"""What the `tokenizers` library believes of a tokenizer.json, and would raise or panic about at some later text."""

import base64
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from flax_lite.tokenization.patterns import check_steps
from flax_lite.tokenization.sentencepiece_model import check_charsmap

# WordPiece tries every end of a word, each time with the prefix put before the rest; BERT has "##" and 100.
_MAX_PREFIX, _MAX_WORD = 32, 10_000


@contextlib.contextmanager
def library_errors() -> Iterator[None]:
    """Turns whatever the library raises into a ValueError with the same message.

    It raises bare Exception, and where Rust panics, a PanicException, which is none and escapes most handlers.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(str(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # the class cannot be imported
            raise
        raise ValueError(f"the tokenizers library gave up: {error}") from error


def check_pipeline(data: Mapping[str, Any]) -> None:
    """Refuses a pipeline that the library fails or panics about later, or that may take for ever.

    It lacks a piece for what it cannot spell, or has a character map that points outside itself, or steps as in
    `flax_lite.tokenization.patterns`.

    Args:
        data: the content of a tokenizer.json that has a model with a vocabulary.

    Raises:
        ValueError: saying which part is wrong; the message does not name the file, the caller does.
    """
    model = data["model"]
    vocab, name, number = model["vocab"], model.get("unk_token"), model.get("unk_id")
    if isinstance(vocab, dict) and (not isinstance(name, str) or name not in vocab):
        raise ValueError(f"its unk_token is {name!r:.100}, which is no piece of its vocabulary")
    if isinstance(vocab, list) and (type(number) is not int or not 0 <= number < len(vocab)):
        raise ValueError(f"its unk_id is {number!r:.100}, expected the id of one of its {len(vocab)} pieces")
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
    """Refuses a WordPiece model that takes the square of a text's length, or writes more than it reads."""
    prefix, longest = model.get("continuing_subword_prefix"), model.get("max_input_chars_per_word")
    if isinstance(prefix, str) and len(prefix) > _MAX_PREFIX:
        raise ValueError(f"its continuing_subword_prefix has {len(prefix)} characters, expected at most {_MAX_PREFIX}")
    if isinstance(longest, int) and longest > _MAX_WORD:
        raise ValueError(f"its max_input_chars_per_word is {longest}, expected at most {_MAX_WORD}")


def _charsmaps(value: Any) -> Iterator[Any]:
    """SentencePiece's compiled character maps, wherever a normalizer has them."""
    if isinstance(value, dict):
        if "precompiled_charsmap" in value:
            yield value["precompiled_charsmap"]
        for each in value.values():
            yield from _charsmaps(each)
    elif isinstance(value, list):
        for each in value:
            yield from _charsmaps(each)
