"""Loads a tokenizer from spiece.model, tokenizer.json, vocab.txt, or a directory with any of them."""

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

# Keys of tokenizer_config.json -> (the field of BertNormalizer in tokenizer.json, BERT's default).
_BERT_NORMALIZER = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}
# Keys that are written back when the tokenizer is saved, in addition to unknown keys.
_OPTIONS = (*_BERT_NORMALIZER, "keep_accents", "model_max_length")


@dataclasses.dataclass(frozen=True)
class _Source:
    """A tokenizer file, and what its directory says about it.

    Attributes:
        path: the file.
        settings: tokenizer_config.json and special_tokens_map.json, overridden by `given`.
        named: the tokenizer class that the directory names, if any.
        model_type: the `model_type` of the config.json beside the file, if any.
        given: settings from the caller, which override the directory's.
    """

    path: Path
    settings: Mapping[str, Any]
    named: str | None
    model_type: str | None
    given: Mapping[str, bool]

    @property
    def kind(self) -> TokenizerClass | None:
        """The entry of `CLASSES` for the named class, or else for the class of the model type."""
        return class_of(self.named or MODEL_CLASSES.get(self.model_type or ""))

    @property
    def is_slow(self) -> bool:
        """Whether transformers' slow class is meant; a fast one is saved under the same name, with a tokenizer.json."""
        if self.path.suffix == ".json" or self.named is None or self.named.endswith("Fast"):
            return self.path.suffix == ".model"
        return self.path.suffix == ".model" or not is_there(self.path.parent / JSON_FILE)


def load_tokenizer(
    source: str | Path, *, lowercase: bool | None = None, strip_accents: bool | None = None
) -> Tokenizer:
    """Loads a tokenizer from a file, a directory, a work directory or the Hugging Face hub.

    In a directory, the class named by tokenizer_config.json or config.json decides which file is read. For ALBERT,
    spiece.model comes before tokenizer.json, unless their vocabularies differ: published conversions of spiece.model
    return other ids than those the weights were trained with. For other models, tokenizer.json comes before vocab.txt.
    An ALBERT directory with only a vocab.txt gets a WordPiece tokenizer. Every other key of the directory's settings is
    honored, known to have no effect, or refused: `flax_lite.tokenization.settings` lists them.

    Args:
        source: a directory, a work directory, a hub id (`OWNER/NAME`, `OWNER/NAME@REVISION`), or a file: `*.model`
            (SentencePiece unigram), `*.txt` (WordPiece, one piece per line) or `*.json` (a pipeline of the `tokenizers`
            library).
        lowercase: whether to lower-case text. By default, what tokenizer_config.json beside the file says, or true if
            it does not say. Without that file, true unless vocab.txt contains a word with a capital letter.
        strip_accents: whether to strip accents. By default, what tokenizer_config.json says; without an entry, true for
            SentencePiece and the value of `lowercase` for vocab.txt.

    Returns:
        The tokenizer. Its ids equal those of transformers' slow tokenizer for the same files.

    Raises:
        ValueError: if the source does not exist, has several tokenizer files or none, a file is malformed, pieces are
            duplicated, special tokens are missing, a class or setting is not supported, or a hub id cannot be fetched
            (see `flax_lite.checkpoints.sources.hub.fetch_tokenizer`). The error is a `NoTokenizerError` if a directory
            or repository is known to hold no tokenizer.

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
        raise ValueError(f"its file name ends in {path.suffix!r}; expected .model, .txt or .json")
    return readers[path.suffix](source)


def _listed(source: _Source, pieces: Iterable[str]) -> dict[int, AddedToken]:
    """Returns the added tokens that the files beside a vocabulary list."""
    pipeline = read_json_beside(source.path.parent, JSON_FILE)
    return listed_tokens(
        source.path.parent, source.settings, pipeline if has_vocabulary(pipeline, list(pieces)) else {}
    )


def _read_sentencepiece(source: _Source) -> Tokenizer:
    data, settings = read_bytes(source.path), source.settings
    model = parse_sentencepiece_model(data)
    listed = _listed(source, model.pieces)
    specials = _specials(settings, [*model.pieces, *(token.content for token in listed.values())], ALBERT_SPECIALS)
    allowed = {specials.unk, *model.of_type(CONTROL), *model.of_type(USER_DEFINED)}
    allowed |= {token.content for id_, token in listed.items() if id_ >= len(model.pieces)}
    if ordinary := [piece for piece in specials if piece not in allowed]:
        raise ValueError(f"{', '.join(ordinary)} is an ordinary piece; expected a control symbol")
    lowercase = _flag(settings, "do_lower_case", True)
    strip_accents = not _flag(settings, "keep_accents", False)
    added = tokens_in_order(listed, settings)
    backend = sentencepiece_backend(model, specials, lowercase=lowercase, strip_accents=strip_accents, added=added)
    check_ids(backend, listed)
    options = {"do_lower_case": lowercase, "keep_accents": not strip_accents}
    return _build(source, backend, specials, options, sentencepiece_model=data)


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
    options = {
        "do_lower_case": lowercase,
        "strip_accents": strip_accents,
        "tokenize_chinese_chars": chinese_characters,
    }
    return _build(source, backend, specials, options)


def _vocab_pieces(text: str) -> list[str]:
    """Returns the pieces of a vocab.txt in id order; an id is a line number.

    As in BERT's own reader, a repeated piece has the id of its last line. Blank lines and earlier duplicates keep their
    ids, under a name with a space in it, which no word can match.

    Source: google-research/bert tokenization.py, load_vocab; transformers 4.57 tokenization_bert.py, load_vocab.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # not splitlines(): pieces may be line separators
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError("it is empty; expected one piece per line")
    last = {piece: number for number, piece in enumerate(lines)}
    unused = {number for number, piece in enumerate(lines) if not piece or last[piece] != number}
    if unused:
        logger.warning(
            "vocab.txt: %d lines are blank or repeated further down, the first of them line %d; they keep their ids, "
            "but no text is encoded to these",
            len(unused),
            min(unused) + 1,
        )
    return [f"{piece} (line {number + 1})" if number in unused else piece for number, piece in enumerate(lines)]


def _is_uncased(source: _Source, pieces: Iterable[str]) -> bool:
    """Returns whether a vocabulary is uncased, for files without a setting that says so.

    transformers then assumes it. Google's cased releases have no tokenizer_config.json, but pieces with capital
    letters.
    """
    if is_there(source.path.parent / SETTINGS_FILE):
        return True
    words = (piece.removeprefix("##") for piece in pieces)
    example = next((word for word in words if word.isalpha() and word != word.lower()), None)
    if example is not None:
        logger.warning(
            "%s contains %r, and there is no %s with do_lower_case: text is not lower-cased",
            source.path,
            example,
            SETTINGS_FILE,
        )
    return example is None


def _read_pipeline(source: _Source) -> Tokenizer:
    """Reads a tokenizer.json, with the changes that transformers makes to it according to tokenizer_config.json."""
    data, settings = read_json(source.path), dict(source.settings)
    check_settings(data, PIPELINE, str(source.path))
    listed = listed_tokens(source.path.parent, settings, data)
    _check_model(data)
    _choose_normalizer(data, source)
    if data.get("post_processor") is None and source.named and source.kind and not source.kind.bert:
        raise ValueError("it has no post_processor, so transformers adds no [CLS] and [SEP] to its rows; add one")
    for role, key in (("truncation", "truncation_side"), ("padding", "padding_side")):
        if isinstance(data.get(role), Mapping) and settings.get(key) is None:
            settings[key] = str(data[role].get("direction", "Right")).lower()
    check_settings({"padding_side": settings.get("padding_side")}, SETTINGS, str(source.path))
    with library_errors():
        backend = tokenizers.Tokenizer.from_str(json.dumps(data))
    pieces = [*backend.get_vocab(with_added_tokens=True), *(token.content for token in listed.values())]
    specials = _specials(settings, pieces, BERT_SPECIALS if BERT_SPECIALS.pad in pieces else ALBERT_SPECIALS)
    # A special token that the settings only name keeps its flags of tokenizer.json.
    existing = {token.content for token in backend.get_added_tokens_decoder().values()}
    existing -= {token.content for token in listed.values()}
    backend.add_tokens([token for token in tokens_in_order(listed, settings) if token.content not in existing])
    special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([piece for piece in specials if piece not in special])
    check_ids(backend, listed)
    return _build(dataclasses.replace(source, settings=settings), backend, specials, {})


def _check_model(data: dict[str, Any]) -> None:
    model = data.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise ValueError('it has no "model" with a "vocab"; expected a file of the `tokenizers` library')
    if isinstance(model["vocab"], list):
        try:
            model["vocab"] = [[piece, round(score, SCORE_DECIMALS)] for piece, score in model["vocab"]]
        except (TypeError, ValueError) as error:
            raise ValueError("its vocabulary is not a list of pieces with scores") from error
        _refuse_duplicates([piece for piece, _ in model["vocab"] if isinstance(piece, str)])
    check_pipeline(data)


def _choose_normalizer(data: dict[str, Any], source: _Source) -> None:
    """Sets case and accents from the settings, as BertTokenizerFast of transformers 4.57 and BertTokenizer of 5 do."""
    normalizer = data.get("normalizer")
    if not (isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer"):
        if source.given:
            raise ValueError(
                "lowercase and strip_accents can only be set for a BertNormalizer, and the file has another one; leave "
                "them out"
            )
        return
    is_bert = source.kind is not None and source.kind.bert
    values = source.settings if is_bert or source.kind is None else source.given
    for option, (field, default) in _BERT_NORMALIZER.items():
        if values.get(option) is not None:
            normalizer[field] = _flag(values, option, True)
        elif is_bert:
            normalizer[field] = default


def _specials(settings: Mapping[str, Any], pieces: Iterable[str], defaults: Specials) -> Specials:
    """Returns the special tokens that the settings name, with the defaults for the others."""
    names = {}
    for role, default in dataclasses.asdict(defaults).items():
        named = settings.get(f"{role}_token")
        named = named.get("content") if isinstance(named, dict) else named
        names[role] = named if isinstance(named, str) else default
    specials = Specials(**names)
    if missing := specials.missing_from(pieces):
        raise ValueError(f"the vocabulary has no {' and no '.join(missing)}")
    return specials


def _build(
    source: _Source,
    backend: tokenizers.Tokenizer,
    specials: Specials,
    options: Mapping[str, Any],
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
        options={**kept, **options},
        sentencepiece_model=sentencepiece_model,
        token_types=_has_token_types(source),
        truncation_side=settings.get("truncation_side") or "right",
        # A vocabulary without settings comes from Google, whose code truncates like the slow classes.
        odd_token_to_first=source.is_slow or (source.kind is None and source.path.suffix != ".json"),
        clean_up_spaces=_cleans_up_spaces(source),
    )


def _cleans_up_spaces(source: _Source) -> bool:
    """Returns clean_up_tokenization_spaces, by default true for a vocab.txt.

    The default is that of BERT's slow class; its fast class has it only when built from a vocab.txt.
    """
    if "clean_up_tokenization_spaces" in source.settings:  # null means false
        return bool(source.settings["clean_up_tokenization_spaces"])
    return source.path.suffix == ".txt"


def _has_token_types(source: _Source) -> bool:
    """Returns whether the rows of a pair have token types.

    A DistilBERT directory lists no token_type_ids because that model reads none; with another model the tokenizer has
    them.
    """
    of_model = class_of(MODEL_CLASSES.get(source.model_type or ""))
    if of_model is not None and not of_model.token_types:
        return True
    inputs = source.settings.get("model_input_names")
    if inputs is not None and not isinstance(inputs, list):
        raise ValueError(f"{SETTINGS_FILE} has model_input_names={inputs!r:.100}; expected a list of names")
    if inputs is not None:
        return "token_type_ids" in inputs
    return source.model_type is None or source.kind is None or source.kind.token_types


def _refuse_duplicates(pieces: list[str]) -> None:
    duplicates = [piece for piece, count in Counter(pieces).items() if count > 1]
    if duplicates:
        raise ValueError(f"{len(duplicates)} pieces occur more than once, for example {duplicates[0]!r}")


def _flag(settings: Mapping[str, Any], name: str, default: bool) -> bool:
    value = settings.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{SETTINGS_FILE} has {name}={value!r}; expected true or false")
    return default if value is None else value
