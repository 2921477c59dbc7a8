"""Tokens added to a finished vocabulary: what they are, and which ids beyond it they have.

Three files tell of them, by age: added_tokens.json (text and id), tokenizer.json, and tokenizer_config.json with its
added_tokens_decoder, which alone counts where it is there.

Source: transformers 4.57 PreTrainedTokenizerBase._from_pretrained.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from flax_lite.files.names import ADDED_FILE, SPECIALS_FILE
from flax_lite.tokenization.files import read_json_beside

_DECODER = "added_tokens_decoder"
_FLAGS = ("lstrip", "normalized", "rstrip", "single_word", "special")


def read_settings(directory: Path, config_file: str) -> dict[str, Any]:
    """What tokenizer_config.json says, with the names of specials that older versions kept in a file of their own.

    Raises:
        ValueError: one of the two is no JSON object.
    """
    config = read_json_beside(directory, config_file)
    if _DECODER in config:
        return config
    specials = read_json_beside(directory, SPECIALS_FILE)
    return config | {name: value for name, value in specials.items() if value is not None}


def read_added_tokens(
    directory: Path, settings: Mapping[str, Any], pieces: Sequence[str], pipeline: Mapping[str, Any]
) -> list[AddedToken]:
    """The tokens beyond a vocabulary.

    Args:
        directory: where added_tokens.json may be.
        settings: see `read_settings`.
        pieces: the vocabulary in id order.
        pipeline: the content of a tokenizer.json with the same vocabulary, or nothing.

    Returns:
        In id order, from `len(pieces)` on.

    Raises:
        ValueError: malformed entries, ids with a gap, or a token that the vocabulary has already.
    """
    if _DECODER in settings:
        found = _from_decoder(settings[_DECODER])
    else:
        listed = read_json_beside(directory, ADDED_FILE)
        found = _from_list(listed, settings) | _from_pipeline(pipeline.get("added_tokens") or [])
    first = len(pieces)
    beyond = {id_: token for id_, token in found.items() if id_ >= first}
    ids = sorted(beyond)
    if ids != list(range(first, first + len(ids))):
        raise ValueError(f"its added tokens have the ids {ids[0]} to {ids[-1]}; expected {first} on, without a gap")
    contents = [beyond[id_].content for id_ in ids]
    if doubled := set(contents) & set(pieces) or {text for text, count in Counter(contents).items() if count > 1}:
        raise ValueError(f"{min(doubled)!r} has two ids, one of them as an added token")
    return [beyond[id_] for id_ in ids]


def _from_decoder(decoder: Any) -> dict[int, AddedToken]:
    if not isinstance(decoder, Mapping) or not all(str(id_).isdecimal() for id_ in decoder):
        raise ValueError(f"{_DECODER} is not a mapping from ids to tokens")
    return {int(id_): _token(entry) for id_, entry in decoder.items()}


def _from_pipeline(entries: Any) -> dict[int, AddedToken]:
    if not isinstance(entries, list) or not all(isinstance(each, Mapping) for each in entries):
        raise ValueError("the added_tokens of its tokenizer.json are not a list of tokens")
    return {_id(entry.get("id")): _token(entry) for entry in entries}


def _from_list(listed: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[int, AddedToken]:
    values = [value for name, value in settings.items() if name.endswith(("_token", "_special_tokens"))]
    names = [each for value in values for each in (value if isinstance(value, list) else [value])]
    texts = (name.get("content") if isinstance(name, Mapping) else name for name in names)
    special = {text for text in texts if isinstance(text, str)}
    return {
        _id(id_): _token({"content": content, "special": content in special, "normalized": content not in special})
        for content, id_ in listed.items()
    }


def _token(entry: Any) -> AddedToken:
    content = entry.get("content") if isinstance(entry, Mapping) else None
    flags = {} if content is None else {name: entry[name] for name in _FLAGS if entry.get(name) is not None}
    if not isinstance(content, str) or not content or not all(isinstance(flag, bool) for flag in flags.values()):
        raise ValueError(f"{entry!r:.100} is not an added token: expected content, a text, and flags")
    return AddedToken(content, **flags)


def _id(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.100} is not the id of an added token")
    return value
