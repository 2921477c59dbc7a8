"""Added tokens: special tokens, and tokens added to a finished vocabulary. No text is split inside one.

Four files list them, from the oldest format to the newest: special_tokens_map.json (special tokens by role),
added_tokens.json (token to id), tokenizer.json, and tokenizer_config.json with its `added_tokens_decoder`, which
overrides the other three.

Source: transformers 4.57 PreTrainedTokenizerBase._from_pretrained, PreTrainedTokenizer and PreTrainedTokenizerFast.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from flax_lite.files.names import ADDED_FILE, SETTINGS_FILE, SPECIALS_FILE
from flax_lite.files.settings import check_settings
from flax_lite.tokenization.files import read_json_beside
from flax_lite.tokenization.settings import DECODER, EXTRA_SPECIALS, ROLES, SETTINGS, SPECIALS

_FLAGS = ("lstrip", "normalized", "rstrip", "single_word", "special")


def read_settings(directory: Path) -> dict[str, Any]:
    """Returns tokenizer_config.json merged with special_tokens_map.json, which older versions wrote for special tokens.

    Raises:
        ValueError: if one of the two is not a JSON object, or sets an option that is not supported.
    """
    config = read_json_beside(directory, SETTINGS_FILE)
    check_settings(config, SETTINGS, str(directory / SETTINGS_FILE))
    if DECODER in config:
        return config
    specials = read_json_beside(directory, SPECIALS_FILE)
    check_settings(specials, SPECIALS, str(directory / SPECIALS_FILE))
    merged = config | {name: value for name, value in specials.items() if value is not None}
    for name in EXTRA_SPECIALS:
        if isinstance(specials.get(name), list) and isinstance(config.get(name), list):
            merged[name] = [*config[name], *(token for token in specials[name] if token not in config[name])]
    return merged


def listed_tokens(directory: Path, settings: Mapping[str, Any], pipeline: Mapping[str, Any]) -> dict[int, AddedToken]:
    """Returns the added tokens by id, from the newest file that lists them.

    Args:
        directory: the directory that may contain added_tokens.json.
        settings: the result of `read_settings`.
        pipeline: the content of a tokenizer.json with the same vocabulary; empty if there is no such file.

    Raises:
        ValueError: if an entry is malformed.
    """
    if DECODER in settings:
        return _from_decoder(settings[DECODER])
    listed = read_json_beside(directory, ADDED_FILE)
    return _from_list(listed, settings) | _from_pipeline(pipeline.get("added_tokens") or [])


def tokens_in_order(listed: Mapping[int, AddedToken], settings: Mapping[str, Any]) -> list[AddedToken]:
    """Returns the listed tokens by ascending id, followed by the special tokens that only the settings name."""
    named = {token.content: token for token in _specials(settings)}
    tokens = [listed[id_] for id_ in sorted(listed)]
    tokens = [_as_special(token) if token.content in named else token for token in tokens]
    contents = {token.content for token in tokens}
    return tokens + [token for content, token in named.items() if content not in contents]


def check_ids(backend: tokenizers.Tokenizer, listed: Mapping[int, AddedToken]) -> None:
    """Checks that every listed token has its listed id in the pipeline.

    Raises:
        ValueError: if the ids after the vocabulary have a gap, or if a listed token already had another id.
    """
    size = backend.get_vocab_size(with_added_tokens=False)
    for id_, token in sorted(listed.items()):
        found = backend.token_to_id(token.content)
        if found != id_:
            raise ValueError(
                f"the added token {token.content!r:.100} is listed with id {id_}, but has id {found}; expected the id "
                f"of the piece with the same text, or consecutive ids starting at {size}, the vocabulary's size"
            )


def special_names(settings: Mapping[str, Any]) -> set[str]:
    """Returns the texts of all special tokens that the settings name."""
    return {token.content for token in _specials(settings)}


def _specials(settings: Mapping[str, Any]) -> list[AddedToken]:
    """Returns the special tokens that the settings name, in the order in which transformers adds them."""
    values: list[Any] = [settings.get(role) for role in ROLES]
    for name in EXTRA_SPECIALS:
        extra = settings.get(name) or []
        if not isinstance(extra, list | Mapping):
            raise ValueError(f"{name} is {extra!r:.100}; expected a list of tokens")
        values += extra.values() if isinstance(extra, Mapping) else extra
    return [_special(value) for value in values if value is not None]


def _special(value: Any) -> AddedToken:
    return _token({"content": value, "normalized": False, "special": True} if isinstance(value, str) else value)


def _as_special(token: AddedToken) -> AddedToken:
    flags = {name: getattr(token, name) for name in _FLAGS if name != "special"}
    return AddedToken(token.content, special=True, **flags)


def _from_decoder(decoder: Any) -> dict[int, AddedToken]:
    if not isinstance(decoder, Mapping) or not all(str(id_).isdecimal() for id_ in decoder):
        raise ValueError(f"{DECODER} is not a mapping from ids to tokens")
    return {int(id_): _token(entry) for id_, entry in decoder.items()}


def _from_pipeline(entries: Any) -> dict[int, AddedToken]:
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError("the added_tokens of its tokenizer.json are not a list of tokens")
    return {_id(entry.get("id")): _token(entry) for entry in entries}


def _from_list(listed: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[int, AddedToken]:
    special = special_names(settings)
    return {
        _id(id_): _token({"content": content, "special": content in special, "normalized": content not in special})
        for content, id_ in listed.items()
    }


def _token(entry: Any) -> AddedToken:
    content = entry.get("content") if isinstance(entry, Mapping) else None
    flags = {} if content is None else {name: entry[name] for name in _FLAGS if entry.get(name) is not None}
    if not isinstance(content, str) or not content or not all(isinstance(flag, bool) for flag in flags.values()):
        raise ValueError(f"{entry!r:.100} is not an added token: expected a content string and boolean flags")
    return AddedToken(content, **flags)


def _id(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r:.100} is not the id of an added token: expected an integer of at least 0")
    return value
