"""Finds and reads a tokenizer's files: spiece.model, tokenizer.json, vocab.txt, or a directory with any of them."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from flax_lite.files.names import (
    JSON_FILE,
    SENTENCEPIECE_FILE,
    SETTINGS_FILE,
    VOCAB_FILE,
    VOCABULARIES,
    NoTokenizerError,
)
from flax_lite.tokenization.added import read_added_tokens, read_settings
from flax_lite.tokenization.files import read_bytes, read_json, read_json_beside, read_text
from flax_lite.tokenization.pipeline_checks import check_pipeline, library_errors
from flax_lite.tokenization.recipes import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    SCORE_DECIMALS,
    Specials,
    sentencepiece_backend,
    wordpiece_backend,
)
from flax_lite.tokenization.sentencepiece_model import CONTROL, parse_sentencepiece_model
from flax_lite.tokenization.tokenizer import Tokenizer

# Entries of tokenizer_config.json, and what BERT's normaliser calls them in tokenizer.json.
_BERT_NORMALIZER_FIELDS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# Entries that are kept when the tokenizer is saved again.
_OPTIONS = (*_BERT_NORMALIZER_FIELDS, "keep_accents", "model_max_length")
# Entries of tokenizer_config.json that ask for a splitting into words other than BERT's own.
_OTHER_WORDS = {"tokenizer_class": "BertJapaneseTokenizer", "do_basic_tokenize": False}


def load_tokenizer(
    source: str | Path, *, lowercase: bool | None = None, strip_accents: bool | None = None
) -> Tokenizer:
    """Reads a tokenizer from a file, from a directory that holds one, or by the name of a model.

    In a directory, spiece.model comes before tokenizer.json (published conversions of it give other ids than those the
    weights were trained with) unless that has other pieces, and tokenizer.json before vocab.txt. Which model it belongs
    to does not matter: an ALBERT with a vocab.txt has a WordPiece tokenizer. Tokens that were added to the vocabulary
    are read from the files beside it.

    Args:
        source: a directory, or a file: `*.model` (SentencePiece unigram), `*.txt` (WordPiece, a piece a line) or
            `*.json` (a pipeline of the `tokenizers` library); a work directory; a hub id (`OWNER/NAME`, `@REVISION`
            allowed).
        lowercase: whether text is lower-cased. Default: tokenizer_config.json beside the file; else yes for
            SentencePiece, and for vocab.txt unless a piece has a capital letter.
        strip_accents: whether accents are dropped. Default: tokenizer_config.json; else yes for SentencePiece, and as
            `lowercase` for vocab.txt.

    Raises:
        ValueError: nothing there, several or no tokenizer files, a malformed file, doubled pieces, missing specials, or
            a hub id that cannot be fetched (see `flax_lite.checkpoints.sources.hub.fetch_tokenizer`). It is a
            `NoTokenizerError` where a directory, or a repository, is known to hold none.

    Source: transformers 4.57 tokenization_albert.py, tokenization_bert.py (the slow classes).
    """
    path = _find(source)
    given: dict[str, bool] = {}
    if lowercase is not None:
        given["do_lower_case"] = lowercase
    if strip_accents is not None:
        given |= {"strip_accents": strip_accents, "keep_accents": not strip_accents}
    try:
        return _read_file(path, given)
    except ValueError as error:
        raise ValueError(f"{path} is not a usable tokenizer: {error}") from error


def _find(source: str | Path) -> Path:
    """The file to begin with."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not path.is_dir() or not _files_in(path):
        # Imported here: it brings JAX along, which processes that only tokenise do without.
        from flax_lite.checkpoints.sources.resolve import tokenizer_directory

        path = tokenizer_directory(source)
    return path if path.is_file() else _choose_file(path)


def _read_file(path: Path, given: dict[str, bool]) -> Tokenizer:
    settings = read_settings(path.parent, SETTINGS_FILE) | given
    if path.suffix == ".model":
        return _read_sentencepiece(path, settings)
    if path.suffix == ".txt":
        return _read_vocab(path, settings)
    if path.suffix != ".json":
        raise ValueError(f"its name ends in {path.suffix!r}; expected .model, .txt or .json")
    data = read_json(path)
    if given and not _is_bert_normalizer(data.get("normalizer")):
        raise ValueError("lowercase and strip_accents cannot be chosen: the file has a normaliser of its own")
    backend, specials = _build_pipeline(data, settings)
    return Tokenizer(backend, specials, options=_options(settings))


def _files_in(directory: Path) -> list[Path]:
    named = [directory / name for name in VOCABULARIES]
    # Google's releases name theirs 30k-clean.model.
    return [path for path in named if path.is_file()] or sorted(directory.glob("*.model"))


def _choose_file(directory: Path) -> Path:
    found = _files_in(directory)
    if not found:
        raise NoTokenizerError(f"{directory} holds no {SENTENCEPIECE_FILE}, {JSON_FILE} or {VOCAB_FILE}")
    first, *others = found
    if first.suffix != ".model" or not others:
        return first
    if others[0].suffix == ".model":
        raise ValueError(
            f"{directory} holds no {SENTENCEPIECE_FILE}, {JSON_FILE} or {VOCAB_FILE}; it holds several: "
            f"{', '.join(path.name for path in found)}, name one"
        )
    return others[0] if _has_other_pieces(others[0], first) else first


def _has_other_pieces(pipeline: Path, sentencepiece: Path) -> bool:
    if pipeline.name != JSON_FILE:
        return False
    try:
        pieces = parse_sentencepiece_model(read_bytes(sentencepiece)).pieces
        return not _same_vocabulary(read_json(pipeline), pieces)
    except ValueError:
        return False  # the SentencePiece file is read next: what is wrong with it is said there


def _same_vocabulary(pipeline: Mapping[str, Any], pieces: Sequence[str]) -> bool:
    """Whether a tokenizer.json is a conversion of a vocabulary; tokens added to either do not count."""
    model = pipeline.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocab, Mapping):
        return len(vocab) == len(pieces) and all(vocab.get(piece) == id_ for id_, piece in enumerate(pieces))
    if not isinstance(vocab, list):
        return False
    return [entry[0] if isinstance(entry, list) and entry else None for entry in vocab] == list(pieces)


def _added(path: Path, settings: Mapping[str, Any], pieces: Sequence[str]) -> list[AddedToken]:
    """The tokens that the files beside a vocabulary add to it."""
    pipeline = read_json_beside(path.parent, JSON_FILE)
    return read_added_tokens(path.parent, settings, pieces, pipeline if _same_vocabulary(pipeline, pieces) else {})


def _read_sentencepiece(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    data = read_bytes(path)
    model = parse_sentencepiece_model(data)
    added = _added(path, config, model.pieces)
    specials = _specials(config, [*model.pieces, *(token.content for token in added)], ALBERT_SPECIALS)
    fit = {specials.unk, *model.of_type(CONTROL), *(token.content for token in added)}
    not_control = [piece for piece in specials if piece not in fit]
    if not_control:
        raise ValueError(f"{', '.join(not_control)} is an ordinary piece, not a control symbol")
    lowercase = _flag(config, "do_lower_case", True)
    strip_accents = not _flag(config, "keep_accents", False)
    return Tokenizer(
        sentencepiece_backend(model, specials, lowercase=lowercase, strip_accents=strip_accents, added=added),
        specials,
        options=_options(config) | {"do_lower_case": lowercase, "keep_accents": not strip_accents},
        sentencepiece_model=data,
    )


def _read_vocab(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    if others := [name for name, value in _OTHER_WORDS.items() if config.get(name) == value]:
        raise ValueError(
            f"{SETTINGS_FILE} says {others[0]}={config[others[0]]!r}: its text is split into words in another way than "
            "BERT's, which is not supported"
        )
    lines = read_text(path).split("\n")  # not splitlines(): pieces may be exotic line separators
    pieces = [line.removesuffix("\r") for line in lines]
    while pieces and not pieces[-1]:
        pieces.pop()
    if not pieces:
        raise ValueError("it is empty; expected a piece a line")
    if "" in pieces:
        raise ValueError(f"line {pieces.index('') + 1} is empty; expected a piece a line")
    _refuse_doubles(pieces)
    added = _added(path, config, pieces)
    specials = _specials(config, [*pieces, *(token.content for token in added)], BERT_SPECIALS)
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
        added=added,
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
        _refuse_doubles([piece for piece, _ in model["vocab"] if isinstance(piece, str)])
    check_pipeline(data)
    if _is_bert_normalizer(data.get("normalizer")):
        # As transformers 4.57 BertTokenizerFast.__init__.
        data["normalizer"] |= {
            field: _flag(config, option, True)
            for option, field in _BERT_NORMALIZER_FIELDS.items()
            if config.get(option) is not None
        }
    with library_errors():
        backend = tokenizers.Tokenizer.from_str(json.dumps(data))
    pieces = backend.get_vocab(with_added_tokens=True)
    specials = _specials(config, pieces, BERT_SPECIALS if BERT_SPECIALS.pad in pieces else ALBERT_SPECIALS)
    known = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([special for special in specials if special not in known])
    return backend, specials


def _is_bert_normalizer(normalizer: Any) -> bool:
    return isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer"


def _specials(config: Mapping[str, Any], pieces: Iterable[str], defaults: Specials) -> Specials:
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
        raise ValueError(f"{SETTINGS_FILE} says {name}={value!r}; expected true or false")
    return default if value is None else value


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in _OPTIONS if config.get(name) is not None}
