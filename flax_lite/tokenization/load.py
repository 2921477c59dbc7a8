"""Finds and reads a tokenizer's files: spiece.model, tokenizer.json, vocab.txt, or a directory with any of them."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from flax_lite.tokenization.recipes import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    SCORE_DECIMALS,
    Specials,
    sentencepiece_backend,
    wordpiece_backend,
)
from flax_lite.tokenization.sentencepiece_model import CONTROL, parse_sentencepiece_model
from flax_lite.tokenization.tokenizer import CONFIG_FILE, JSON_FILE, SENTENCEPIECE_FILE, VOCAB_FILE, Tokenizer

# The largest tokenizers in use are below 40 MB: a larger file is something else, and is not read into memory.
_MAX_BYTES = 256 * 2**20
# Entries of tokenizer_config.json, and what BERT's normaliser calls them in tokenizer.json.
_BERT_NORMALIZER_FIELDS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# Entries that are kept when the tokenizer is saved again.
_OPTIONS = (*_BERT_NORMALIZER_FIELDS, "keep_accents", "model_max_length")


def load_tokenizer(
    source: str | Path, *, lowercase: bool | None = None, strip_accents: bool | None = None
) -> Tokenizer:
    """Reads a tokenizer from a file, or from a directory that holds one.

    In a directory, spiece.model comes before tokenizer.json (published conversions of it give other ids than those the
    weights were trained with) unless that has other pieces, and tokenizer.json before vocab.txt.

    Args:
        source: a directory, or a file: `*.model` (SentencePiece unigram), `*.txt` (WordPiece, a piece a line) or
            `*.json` (a pipeline of the `tokenizers` library).
        lowercase: whether text is lower-cased. Default: tokenizer_config.json beside the file; else yes for
            SentencePiece, and for vocab.txt unless a piece has a capital letter.
        strip_accents: whether accents are dropped. Default: tokenizer_config.json; else yes for SentencePiece, and as
            `lowercase` for vocab.txt.

    Raises:
        ValueError: nothing there, several or no tokenizer files, a malformed file, doubled pieces, missing specials.

    Source: transformers 4.57 tokenization_albert.py, tokenization_bert.py (the slow classes).
    """
    path = Path(source)
    if path.is_dir():
        path = _choose_file(path)
    elif not path.is_file():
        raise ValueError(
            f"no tokenizer at {str(source)!r}: expected a directory or a file ({SENTENCEPIECE_FILE}, {JSON_FILE} or "
            f"{VOCAB_FILE}). Names on a model hub are not looked up: download the files and give their directory"
        )
    given: dict[str, bool] = {}
    if lowercase is not None:
        given["do_lower_case"] = lowercase
    if strip_accents is not None:
        given |= {"strip_accents": strip_accents, "keep_accents": not strip_accents}
    try:
        return _read_file(path, given)
    except ValueError as error:
        raise ValueError(f"{path} is not a usable tokenizer: {error}") from error


def _read_file(path: Path, given: dict[str, bool]) -> Tokenizer:
    config = _read_config(path.parent) | given
    if path.suffix == ".model":
        return _read_sentencepiece(path, config)
    if path.suffix == ".txt":
        return _read_vocab(path, config)
    if path.suffix != ".json":
        raise ValueError(f"its name ends in {path.suffix!r}; expected .model, .txt or .json")
    data = _read_json(path)
    if given and not _is_bert_normalizer(data.get("normalizer")):
        raise ValueError("lowercase and strip_accents cannot be chosen: the file has a normaliser of its own")
    backend, specials = _build_pipeline(data, config)
    return Tokenizer(backend, specials, options=_options(config))


def _choose_file(directory: Path) -> Path:
    sentencepiece, pipeline, vocab = (directory / name for name in (SENTENCEPIECE_FILE, JSON_FILE, VOCAB_FILE))
    if sentencepiece.is_file():
        if pipeline.is_file() and _has_other_pieces(pipeline, sentencepiece):
            return pipeline
        return sentencepiece
    for path in (pipeline, vocab):
        if path.is_file():
            return path
    models = sorted(directory.glob("*.model"))  # Google's releases name theirs 30k-clean.model
    if len(models) == 1:
        return models[0]
    found = f"; it holds several: {', '.join(path.name for path in models)}, name one" if models else ""
    raise ValueError(f"{directory} holds no {SENTENCEPIECE_FILE}, {JSON_FILE} or {VOCAB_FILE}{found}")


def _has_other_pieces(pipeline: Path, sentencepiece: Path) -> bool:
    try:
        data = _read_json(pipeline)
        in_json = {piece for piece, _ in data["model"]["vocab"]} | {token["content"] for token in data["added_tokens"]}
        return in_json != set(parse_sentencepiece_model(_read_bytes(sentencepiece)).pieces)
    except (KeyError, TypeError, ValueError):
        return False  # the SentencePiece file is read next: what is wrong with it is said there


def _read_sentencepiece(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    data = _read_bytes(path)
    model = parse_sentencepiece_model(data)
    specials = _specials(config, model.pieces, ALBERT_SPECIALS)
    not_control = [piece for piece in specials if piece != specials.unk and piece not in model.of_type(CONTROL)]
    if not_control:
        raise ValueError(f"{', '.join(not_control)} is an ordinary piece, not a control symbol")
    lowercase = _flag(config, "do_lower_case", True)
    strip_accents = not _flag(config, "keep_accents", False)
    return Tokenizer(
        sentencepiece_backend(model, specials, lowercase=lowercase, strip_accents=strip_accents),
        specials,
        options=_options(config) | {"do_lower_case": lowercase, "keep_accents": not strip_accents},
        sentencepiece_model=data,
    )


def _read_vocab(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    lines = _read_text(path).split("\n")  # not splitlines(): pieces may be exotic line separators
    pieces = [line.removesuffix("\r") for line in lines]
    while pieces and not pieces[-1]:
        pieces.pop()
    if not pieces:
        raise ValueError("it is empty; expected a piece a line")
    if "" in pieces:
        raise ValueError(f"line {pieces.index('') + 1} is empty; expected a piece a line")
    _refuse_doubles(pieces)
    specials = _specials(config, pieces, BERT_SPECIALS)
    capitals = any(re.search("[A-Z]", piece) for piece in pieces if not re.fullmatch(r"\[.+\]", piece))
    lowercase = _flag(config, "do_lower_case", not capitals)
    strip_accents = _flag(config, "strip_accents", lowercase)
    chinese_characters = _flag(config, "tokenize_chinese_chars", True)
    backend = wordpiece_backend(
        {piece: id_ for id_, piece in enumerate(pieces)},
        specials,
        lowercase=lowercase,
        strip_accents=strip_accents,
        chinese_characters=chinese_characters,
    )
    decided = {"strip_accents": strip_accents, "tokenize_chinese_chars": chinese_characters}
    return Tokenizer(
        backend,
        specials,
        options=_options(config) | decided | {"do_lower_case": lowercase},
    )


def _build_pipeline(data: dict[str, Any], config: Mapping[str, Any]) -> tuple[tokenizers.Tokenizer, Specials]:
    """A pipeline from the content of tokenizer.json."""
    model = data.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise ValueError('it has no "model" with a "vocab": not a file of the `tokenizers` library')
    if isinstance(model["vocab"], list):
        try:
            model["vocab"] = [[piece, round(score, SCORE_DECIMALS)] for piece, score in model["vocab"]]
        except (TypeError, ValueError) as error:
            raise ValueError("its vocabulary is not a list of pieces with scores") from error
        _refuse_doubles([piece for piece, _ in model["vocab"]])
    if _is_bert_normalizer(data.get("normalizer")):
        # As transformers 4.57 BertTokenizerFast.__init__.
        data["normalizer"] |= {
            field: _flag(config, option, True)
            for option, field in _BERT_NORMALIZER_FIELDS.items()
            if config.get(option) is not None
        }
    try:
        backend = tokenizers.Tokenizer.from_str(json.dumps(data))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(str(error)) from error
    pieces = backend.get_vocab(with_added_tokens=True)
    specials = _specials(config, pieces, BERT_SPECIALS if BERT_SPECIALS.pad in pieces else ALBERT_SPECIALS)
    known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([special for special in specials if special not in known])
    return backend, specials


def _is_bert_normalizer(normalizer: Any) -> bool:
    return isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer"


def _specials(config: Mapping[str, Any], pieces: Any, defaults: Specials) -> Specials:
    """The special pieces that the configuration names, else the usual ones."""
    names = {}
    for role, usual in dataclasses.asdict(defaults).items():
        named = config.get(f"{role}_token")
        named = named.get("content") if isinstance(named, dict) else named
        names[role] = named if isinstance(named, str) else usual
    specials = Specials(**names)
    if missing := specials.missing_from(pieces):
        raise ValueError(f"the vocabulary has no {' and no '.join(missing)}")
    return specials


def _refuse_doubles(pieces: list[str]) -> None:
    doubled = [piece for piece, count in Counter(pieces).items() if count > 1]
    if doubled:
        raise ValueError(f"{len(doubled)} pieces occur more than once, {doubled[0]!r} among them")


def _flag(config: Mapping[str, Any], name: str, default: bool) -> bool:
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{CONFIG_FILE} says {name}={value!r}; expected true or false")
    return default if value is None else value


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in _OPTIONS if config.get(name) is not None}


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        return _read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"its top level is a {type(data).__name__}; expected an object")
    return data


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: {error}") from error


def _read_bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"{size} bytes; no tokenizer file is larger than {_MAX_BYTES}")
    return path.read_bytes()
