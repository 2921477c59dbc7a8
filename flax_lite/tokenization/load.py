"""Reads a tokenizer: spiece.model, tokenizer.json, vocab.txt, or a directory with any of them."""

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from flax_lite.files.names import CONFIG, JSON_FILE, SETTINGS_FILE
from flax_lite.files.reading import is_there, read_consistently
from flax_lite.files.settings import check_settings
from flax_lite.tokenization.added import check_ids, listed_tokens, read_settings, tokens_in_order
from flax_lite.tokenization.files import read_bytes, read_json, read_json_beside, read_text
from flax_lite.tokenization.find import find_file, has_vocabulary
from flax_lite.tokenization.pipeline_checks import check_pipeline, library_errors
from flax_lite.tokenization.recipes import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    SCORE_DECIMALS,
    Specials,
    sentencepiece_backend,
    wordpiece_backend,
)
from flax_lite.tokenization.sentencepiece_model import CONTROL, USER_DEFINED, parse_sentencepiece_model
from flax_lite.tokenization.settings import (
    MODEL_CLASSES,
    PIPELINE,
    SETTINGS,
    TokenizerClass,
    class_of,
    tokenizer_class,
)
from flax_lite.tokenization.tokenizer import Tokenizer

logger = logging.getLogger("flax_lite")

# Entries of tokenizer_config.json, and what BERT's normalizer calls them in tokenizer.json; with BERT's defaults.
_BERT_NORMALIZER = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
# Entries that are kept when the tokenizer is saved again, beside those that nobody knows.
_OPTIONS = (*_BERT_NORMALIZER, "keep_accents", "model_max_length")


@dataclasses.dataclass(frozen=True)
class _Source:
    """A file to read, and what the directory says beside it.

    Attributes:
        path: the file.
        settings: of tokenizer_config.json and special_tokens_map.json.
        named: the tokenizer's class, where the directory names it.
        model_type: the family of the model beside it, where there is one.
        given: settings of the caller's, which rule over the directory's.
    """

    path: Path
    settings: Mapping[str, Any]
    named: str | None
    model_type: str | None
    given: Mapping[str, bool]

    @property
    def kind(self) -> TokenizerClass | None:
        """How transformers reads the class that is named, or that belongs to the model."""
        return class_of(self.named or MODEL_CLASSES.get(self.model_type or ""))

    @property
    def is_slow(self) -> bool:
        """Whether the slow class is meant; a fast one is saved under its name too, but beside a tokenizer.json."""
        if self.path.suffix == ".json" or self.named is None or self.named.endswith("Fast"):
            return self.path.suffix == ".model"
        return self.path.suffix == ".model" or not is_there(self.path.parent / JSON_FILE)


def load_tokenizer(
    source: str | Path, *, lowercase: bool | None = None, strip_accents: bool | None = None
) -> Tokenizer:
    """Reads a tokenizer from a file, from a directory that holds one, or by the name of a model.

    In a directory, the class that tokenizer_config.json or config.json names decides which file counts. For ALBERT
    spiece.model comes before tokenizer.json (published conversions of it give other ids than those the weights were
    trained with) unless that has other pieces; for others tokenizer.json comes before vocab.txt. An ALBERT with a
    vocab.txt has a WordPiece tokenizer all the same. What else a directory says of its tokenizer is used, known to
    change nothing, or refused: `flax_lite.tokenization.settings` lists it key by key.

    Args:
        source: a directory, or a file: `*.model` (SentencePiece unigram), `*.txt` (WordPiece, a piece a line) or
            `*.json` (a pipeline of the `tokenizers` library); a work directory; a hub id (`OWNER/NAME`, `@REVISION`
            allowed).
        lowercase: whether text is lower-cased. Default: tokenizer_config.json beside the file, by which text is
            lower-cased unless it says no; where there is none, and a piece of vocab.txt is a word with a capital
            letter, it is not.
        strip_accents: whether accents are dropped. Default: tokenizer_config.json; else yes for SentencePiece, and as
            `lowercase` for vocab.txt.

    Raises:
        ValueError: nothing there, several or no tokenizer files, a malformed file, doubled pieces, missing specials, a
            class or a setting that is not supported, or a hub id that cannot be fetched (see
            `flax_lite.checkpoints.sources.hub.fetch_tokenizer`). It is a `NoTokenizerError` where a directory, or a
            repository, is known to hold none.

    Source: transformers 4.57 tokenization_albert.py, tokenization_bert.py (the slow classes).
    """
    given: dict[str, bool] = {}
    if lowercase is not None:
        given["do_lower_case"] = lowercase
    if strip_accents is not None:
        given |= {"strip_accents": strip_accents, "keep_accents": not strip_accents}
    return read_consistently(Path(source).expanduser(), lambda: _load(source, given))


def _load(source: str | Path, given: Mapping[str, bool]) -> Tokenizer:
    path = find_file(source)
    try:
        return _read_file(path, given)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ").replace(f"{path} ", "it ", 1)
        raise ValueError(f"{path} is not a usable tokenizer: {reason}") from error


def _read_file(path: Path, given: Mapping[str, bool]) -> Tokenizer:
    settings = read_settings(path.parent)
    config = read_json_beside(path.parent, CONFIG)
    model_type = config.get("model_type")
    model_type = model_type if isinstance(model_type, str) else None
    source = _Source(path, {**settings, **given}, tokenizer_class(settings, config), model_type, given)
    readers = {".model": _read_sentencepiece, ".txt": _read_vocab, ".json": _read_pipeline}
    if path.suffix not in readers:
        raise ValueError(f"its name ends in {path.suffix!r}; expected .model, .txt or .json")
    return readers[path.suffix](source)


def _listed(source: _Source, pieces: Iterable[str]) -> dict[int, AddedToken]:
    """The tokens that the files beside a vocabulary list."""
    pipeline = read_json_beside(source.path.parent, JSON_FILE)
    return listed_tokens(
        source.path.parent, source.settings, pipeline if has_vocabulary(pipeline, list(pieces)) else {}
    )


def _read_sentencepiece(source: _Source) -> Tokenizer:
    data, settings = read_bytes(source.path), source.settings
    model = parse_sentencepiece_model(data)
    listed = _listed(source, model.pieces)
    specials = _specials(settings, [*model.pieces, *(token.content for token in listed.values())], ALBERT_SPECIALS)
    fit = {specials.unk, *model.of_type(CONTROL), *model.of_type(USER_DEFINED)}
    fit |= {token.content for id_, token in listed.items() if id_ >= len(model.pieces)}
    if not_control := [piece for piece in specials if piece not in fit]:
        raise ValueError(f"{', '.join(not_control)} is an ordinary piece, not a control symbol")
    lowercase = _flag(settings, "do_lower_case", True)
    strip_accents = not _flag(settings, "keep_accents", False)
    added = tokens_in_order(listed, settings)
    backend = sentencepiece_backend(model, specials, lowercase=lowercase, strip_accents=strip_accents, added=added)
    check_ids(backend, listed)
    decided = {"do_lower_case": lowercase, "keep_accents": not strip_accents}
    return _made(source, backend, specials, decided, sentencepiece_model=data)


def _read_vocab(source: _Source) -> Tokenizer:
    settings = source.settings
    pieces = _vocab_pieces(read_text(source.path))
    listed = _listed(source, pieces)
    specials = _specials(settings, [*pieces, *(token.content for token in listed.values())], BERT_SPECIALS)
    lowercase = _flag(settings, "do_lower_case", _is_uncased(source, pieces))
    strip_accents = _flag(settings, "strip_accents", lowercase)
    chinese_characters = _flag(settings, "tokenize_chinese_chars", True)
    backend = wordpiece_backend(
        {piece: id_ for id_, piece in enumerate(pieces)},
        specials,
        lowercase=lowercase,
        strip_accents=strip_accents,
        chinese_characters=chinese_characters,
        added=tokens_in_order(listed, settings),
        slow=source.is_slow,
    )
    check_ids(backend, listed)
    decided = {"strip_accents": strip_accents, "tokenize_chinese_chars": chinese_characters}
    return _made(source, backend, specials, {**decided, "do_lower_case": lowercase})


def _vocab_pieces(text: str) -> list[str]:
    """The pieces of a vocab.txt by their ids, which are the numbers of their lines.

    As BERT's own reader has it, a piece that occurs again has the id of its last line. A line that is no piece by
    that, or blank, keeps its id: it stands here with a space in it, which no word has.

    Source: google-research/bert tokenization.py, load_vocab; transformers 4.57 tokenization_bert.py, load_vocab.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # not splitlines(): pieces may be line separators
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError("it is empty; expected a piece a line")
    last = {piece: number for number, piece in enumerate(lines)}
    idle = [number for number, piece in enumerate(lines) if not piece or last[piece] != number]
    if idle:
        logger.warning(
            "vocab.txt: line %d is blank or comes again below, as do %d in all; they keep their ids, but no text has "
            "them",
            idle[0] + 1,
            len(idle),
        )
    unused = set(idle)
    return [f"{piece} (line {number + 1})" if number in unused else piece for number, piece in enumerate(lines)]


def _is_uncased(source: _Source, pieces: Iterable[str]) -> bool:
    """Whether a vocabulary is of lower-cased text, where no file says so.

    transformers lower-cases then. Google's cased releases have no tokenizer_config.json; their pieces tell.
    """
    if is_there(source.path.parent / SETTINGS_FILE):
        return True
    words = (piece.removeprefix("##") for piece in pieces)
    example = next((word for word in words if word.isalpha() and word != word.lower()), None)
    if example is not None:
        logger.warning(
            "%s holds %r, and no %s says whether text is lower-cased: it is not", source.path, example, SETTINGS_FILE
        )
    return example is None


def _read_pipeline(source: _Source) -> Tokenizer:
    """A tokenizer.json, with what transformers changes of it by tokenizer_config.json."""
    data, settings = read_json(source.path), dict(source.settings)
    check_settings(data, PIPELINE, str(source.path))
    listed = listed_tokens(source.path.parent, settings, data)
    _check_model(data)
    _choose_normalizer(data, source)
    if data.get("post_processor") is None and source.named and source.kind and not source.kind.bert:
        raise ValueError("it has no post_processor: transformers makes rows without [CLS] and [SEP] by it; add one")
    for role, key in (("truncation", "truncation_side"), ("padding", "padding_side")):
        if isinstance(data.get(role), Mapping) and settings.get(key) is None:
            settings[key] = str(data[role].get("direction", "Right")).lower()
    check_settings({"padding_side": settings.get("padding_side")}, SETTINGS, str(source.path))
    with library_errors():
        backend = tokenizers.Tokenizer.from_str(json.dumps(data))
    pieces = [*backend.get_vocab(with_added_tokens=True), *(token.content for token in listed.values())]
    specials = _specials(settings, pieces, BERT_SPECIALS if BERT_SPECIALS.pad in pieces else ALBERT_SPECIALS)
    # A special that the settings merely name keeps the flags that the file gives it.
    there = {token.content for token in backend.get_added_tokens_decoder().values()}
    there -= {token.content for token in listed.values()}
    backend.add_tokens([token for token in tokens_in_order(listed, settings) if token.content not in there])
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([each for each in specials if each not in special])
    check_ids(backend, listed)
    return _made(dataclasses.replace(source, settings=settings), backend, specials, {})


def _check_model(data: dict[str, Any]) -> None:
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


def _choose_normalizer(data: dict[str, Any], source: _Source) -> None:
    """Case and accents by the settings, as BertTokenizerFast of transformers 4.57 and BertTokenizer of 5 have them."""
    normalizer = data.get("normalizer")
    if not (isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer"):
        if source.given:
            raise ValueError("lowercase and strip_accents cannot be chosen: the file has a normalizer of its own")
        return
    rules = source.kind is not None and source.kind.bert
    values = source.settings if rules or source.kind is None else source.given
    for option, (field, default) in _BERT_NORMALIZER.items():
        if values.get(option) is not None:
            normalizer[field] = _flag(values, option, True)
        elif rules:
            normalizer[field] = default


def _specials(settings: Mapping[str, Any], pieces: Iterable[str], defaults: Specials) -> Specials:
    """The special pieces that the settings name, else the usual ones."""
    names = {}
    for role, usual in dataclasses.asdict(defaults).items():
        named = settings.get(f"{role}_token")
        named = named.get("content") if isinstance(named, dict) else named
        names[role] = named if isinstance(named, str) else usual
    specials = Specials(**names)
    if missing := specials.missing_from(pieces):
        raise ValueError(f"the vocabulary has no {' and no '.join(missing)}")
    return specials


def _made(
    source: _Source,
    backend: tokenizers.Tokenizer,
    specials: Specials,
    decided: Mapping[str, Any],
    sentencepiece_model: bytes | None = None,
) -> Tokenizer:
    settings = source.settings
    kept = {
        name: value
        for name, value in settings.items()
        if value is not None and (name in _OPTIONS or name not in SETTINGS)
    }
    return Tokenizer(
        backend,
        specials,
        options={**kept, **decided},
        sentencepiece_model=sentencepiece_model,
        token_types=_gives_token_types(source),
        truncation_side=settings.get("truncation_side") or "right",
        # A vocabulary alone is Google's, whose code cuts so too.
        odd_token_to_first=source.is_slow or (source.kind is None and source.path.suffix != ".json"),
        tidies=_tidies(source),
    )


def _tidies(source: _Source) -> bool:
    """Whether text made of ids is tidied up: as the settings say, else where a slow class of BERT's is read for it.

    A fast class has that class's default only where it is made of it, for want of a tokenizer.json.
    """
    if "clean_up_tokenization_spaces" in source.settings:  # nothing, as null, says no
        return bool(source.settings["clean_up_tokenization_spaces"])
    return source.path.suffix == ".txt"


def _gives_token_types(source: _Source) -> bool:
    """Whether a pair's rows have token types; a model without a table of them has no say for one that has."""
    of_model = class_of(MODEL_CLASSES.get(source.model_type or ""))
    if of_model is not None and not of_model.token_types:
        return True
    inputs = source.settings.get("model_input_names")
    if inputs is not None and not isinstance(inputs, list):
        raise ValueError(f"{SETTINGS_FILE} says model_input_names={inputs!r:.100}; expected a list of names")
    if inputs is not None:
        return "token_type_ids" in inputs
    return source.model_type is None or source.kind is None or source.kind.token_types


def _refuse_doubles(pieces: list[str]) -> None:
    doubled = [piece for piece, count in Counter(pieces).items() if count > 1]
    if doubled:
        raise ValueError(f"{len(doubled)} pieces occur more than once, {doubled[0]!r} among them")


def _flag(settings: Mapping[str, Any], name: str, default: bool) -> bool:
    value = settings.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{SETTINGS_FILE} says {name}={value!r}; expected true or false")
    return default if value is None else value
