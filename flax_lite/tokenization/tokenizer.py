"""The Tokenizer: texts to ids and model inputs, ids to text, and the word boundaries that masking needs."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tokenizers
from jaxtyping import Bool, Int
from tokenizers import models

from flax_lite.files.names import ADDED_FILE, JSON_FILE, SENTENCEPIECE_FILE, SETTINGS_FILE, SPECIALS_FILE, VOCAB_FILE
from flax_lite.tokenization.pipeline_checks import library_errors
from flax_lite.tokenization.recipes import SPACE, Specials, row_template
from flax_lite.tokenization.template import template_of

# A piece of only these characters continues a word; any other character starts one. The list is that of
# google-research/albert create_pretraining_data.py, _is_start_piece_sp, which also lacks ' < = >.
_INNER_PUNCTUATION = frozenset('!"#$%&()*+,-./:;?@[\\]^_`{|}~')
_INNER_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz") | _INNER_PUNCTUATION
# Replacements of transformers 4.57 tokenization_utils_base.py, clean_up_tokenization, in order.
_SPACE_CLEANUP = (
    *((f" {mark}", mark) for mark in (".", "?", "!", ",")),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
_T = TypeVar("_T")


class Tokenizer:
    """Converts text to ids and back, with the special tokens and word boundaries of one vocabulary.

    Created by `load_tokenizer` and `train_tokenizer`. Can be pickled, and used in forked and spawned worker processes.

    Attributes:
        kind: "unigram" or "wordpiece".
        specials: the special tokens by role.
        pieces: the vocabulary in id order.
        starts_word: whether a piece starts a word, for whole-word masking, [V]; true for special tokens. Unigram: the
            piece starts with "▁" or "<", is a punctuation mark, or contains a character other than the letters a-z and
            punctuation. WordPiece: the piece does not start with "##", or the prefix that the vocabulary has instead.
        template: the special tokens around one text or two.
        has_token_types: whether the second text of a pair has type 1, if the template says so.
        truncation_side: the end at which texts are truncated, "right" or "left".
        cleans_up_spaces: whether `decode` removes spaces before punctuation and in contractions when asked to
            (clean_up_tokenization_spaces in transformers).
        odd_token_to_first: whether the first of two truncated texts keeps the odd token if the room is odd, as in
            Google's code and transformers' slow classes. Otherwise the longer text keeps it, or the second one if they
            are equally long.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        specials: Specials,
        *,
        options: Mapping[str, Any] | None = None,
        sentencepiece_model: bytes | None = None,
        token_types: bool = True,
        truncation_side: str = "right",
        odd_token_to_first: bool = False,
        clean_up_spaces: bool = False,
    ) -> None:
        """Wraps a pipeline of the `tokenizers` library.

        Args:
            backend: a unigram or WordPiece pipeline with ids 0..V-1.
            specials: its special tokens, all of them in the vocabulary.
            options: entries to write into tokenizer_config.json when saving.
            sentencepiece_model: the SentencePiece file that the tokenizer was read from, to write again when saving.
            token_types: see `has_token_types`.
            truncation_side: "right" or "left".
            odd_token_to_first: see the attribute.
            clean_up_spaces: see `cleans_up_spaces`.

        Raises:
            ValueError: if the model is of another kind, the ids have gaps, a special token is not in the vocabulary,
                `truncation_side` is neither "right" nor "left", or the rows have no template (see `template_of`).
        """
        kinds = {models.Unigram: "unigram", models.WordPiece: "wordpiece"}
        if type(backend.model) not in kinds:
            raise ValueError(
                f"its model is a {type(backend.model).__name__}; expected one of {', '.join(kinds.values())}"
            )
        self.kind: str = kinds[type(backend.model)]
        self.specials = specials
        self.pieces: list[str] = _pieces_in_order(backend)
        if missing := specials.missing_from(self.pieces):
            raise ValueError(f"the vocabulary has no {' and no '.join(missing)}")
        self._backend = backend
        self._backend.no_truncation()
        self._backend.no_padding()
        if truncation_side not in ("right", "left"):
            raise ValueError(f"truncation_side={truncation_side!r:.50}; expected 'right' or 'left'")
        if backend.post_processor is None:
            backend.post_processor = row_template(backend, specials)
        self.template = template_of(backend)
        self.has_token_types, self.truncation_side = token_types, truncation_side
        self.odd_token_to_first, self.cleans_up_spaces = odd_token_to_first, clean_up_spaces
        self._options, self._sentencepiece_model = dict(options or {}), sentencepiece_model
        # The vocabulary without added tokens; these may include special tokens.
        self._vocabulary_size = backend.get_vocab_size(with_added_tokens=False)
        self._ids = {piece: id_ for id_, piece in enumerate(self.pieces)}
        if self.kind == "unigram":
            starts = [_starts_sentencepiece_word(piece) for piece in self.pieces]
        else:
            inner = backend.model.continuing_subword_prefix
            starts = [not piece.startswith(inner) for piece in self.pieces]
        self.starts_word: Bool[np.ndarray, "V"] = np.array(starts, dtype=np.bool_)
        self.starts_word[list(self.special_ids)] = True
        self.starts_word[self._vocabulary_size :] = True

    @property
    def vocab_size(self) -> int:
        """The number of pieces including added tokens, V."""
        return len(self.pieces)

    @property
    def pad_id(self) -> int:
        """The id of the padding token."""
        return self._ids[self.specials.pad]

    @property
    def unk_id(self) -> int:
        """The id of the unknown token."""
        return self._ids[self.specials.unk]

    @property
    def cls_id(self) -> int:
        """The id of the classification token; rows start with it unless the template says otherwise."""
        return self._ids[self.specials.cls]

    @property
    def sep_id(self) -> int:
        """The id of the separator token, which ends a segment."""
        return self._ids[self.specials.sep]

    @property
    def mask_id(self) -> int:
        """The id of the mask token."""
        return self._ids[self.specials.mask]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of padding, unknown, [CLS], [SEP] and [MASK], in this order."""
        return tuple(self._ids[special] for special in self.specials)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text, without [CLS] and [SEP], and without truncation.

        A special token that occurs in a text is encoded as its id, as in the reference tokenizers.

        Raises:
            ValueError: if `texts` is one string instead of a sequence, or contains something other than strings.
        """
        if isinstance(texts, str):
            raise ValueError("encode takes a sequence of texts; for one text write encode([text])[0]")
        with _text_errors(texts):
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_spans(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Returns the ids of each text, as `encode` does, and the character span of each token.

        A span is [start, end) in characters of the text as given, before normalization, without white space at either
        end. It is empty if a token has no character of its own, such as a single "▁".

        Raises:
            ValueError: as `encode`.
        """
        if isinstance(texts, str):
            raise ValueError("encode_with_spans takes a sequence of texts; for one text write [text]")
        with _text_errors(texts):
            encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [
            (encoding.ids, [_without_white_space(text, *span) for span in encoding.offsets])
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def __call__(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int, pad: bool = True
    ) -> dict[str, Int[np.ndarray, "B T"]]:
        """Returns batches as a model takes them: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with token type 1 from B on.

        A tokenizer with other special tokens or types joins texts by its own `template`. Texts that are too long are
        truncated at `truncation_side`; of a pair, whichever text is longer at that moment loses the next token.

        Args:
            texts: B texts.
            pairs: B second texts, or None.
            max_length: the maximum number of tokens of a row, special tokens included.
            pad: whether to pad rows to `max_length`; otherwise to the longest row.

        Returns:
            int32 arrays input_ids, attention_mask (1 for tokens, 0 for padding) and token_type_ids, each [B, T].

        Raises:
            ValueError: if `texts` and `pairs` differ in number, or `max_length` has no room for the special tokens.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise ValueError(f"{len(texts)} texts but {len(pairs)} pairs; expected one second text for each")
        room = max_length - (self.template.single_size if pairs is None else self.template.pair_size)
        if room < 0:
            raise ValueError(f"max_length={max_length} has no room for the special tokens; give at least {-room} more")
        firsts = self.encode(texts)
        seconds = [None] * len(firsts) if pairs is None else self.encode(pairs)
        rows = [self.row(first, second, max_length) for first, second in zip(firsts, seconds, strict=True)]
        width = max_length if pad else max((len(ids) for ids, _ in rows), default=0)
        return self._as_arrays(rows, width)

    def row(self, first: Sequence[int], second: Sequence[int] | None, max_length: int) -> tuple[list[int], int]:
        """Returns the row of one text or two, truncated to fit, and the index of its first token of type 1.

        Args:
            first: ids of a text.
            second: ids of the second text of a pair, or None.
            max_length: the maximum number of tokens of the row; must have room for the special tokens.
        """
        if second is None:
            ids = self.template.single(self.truncate(first, max_length - self.template.single_size))
            return ids, len(ids)
        kept_a, kept_b = kept_lengths(
            len(first), len(second), max_length - self.template.pair_size, odd_to_first=self.odd_token_to_first
        )
        return self.pair_row(self.truncate(first, kept_a), self.truncate(second, kept_b))

    def pair_row(self, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], int]:
        """Returns the row of a pair without truncation, and the index of its first token of type 1."""
        ids = self.template.pair(first, second)
        return ids, self.template.types_from(len(first), len(ids)) if self.has_token_types else len(ids)

    def truncate(self, ids: Sequence[_T], room: int) -> Sequence[_T]:
        """Truncates the ids of a text, or one entry per token, to `room` entries at `truncation_side`."""
        return ids[:room] if self.truncation_side == "right" else ids[max(0, len(ids) - room) :]

    def decode(
        self, ids: Sequence[int] | Int[np.ndarray, "T"], *, skip_specials: bool = True, clean_up_spaces: bool = False
    ) -> str:
        """Returns the text of a row of ids, as normalized.

        Args:
            ids: ids of pieces.
            skip_specials: whether to leave out special tokens.
            clean_up_spaces: whether to remove the spaces that transformers removes if the tokenizer's settings ask for
                it (`cleans_up_spaces`). The text of the first ids is then not always a prefix of the text of all ids.

        Raises:
            ValueError: if an id is outside the vocabulary.
        """
        ids = [int(id_) for id_ in ids]
        if outside := [id_ for id_ in ids if not 0 <= id_ < self.vocab_size]:
            raise ValueError(f"id {outside[0]} is outside the vocabulary of {self.vocab_size} pieces")
        text = self._backend.decode(ids, skip_special_tokens=skip_specials)
        if clean_up_spaces and self.cleans_up_spaces:
            for old, new in _SPACE_CLEANUP:
                text = text.replace(old, new)
        return text

    def spell(self, pieces: Sequence[str]) -> str:
        """Returns the text of pieces, which need not be in the vocabulary."""
        decoder = self._backend.decoder
        return " ".join(pieces) if decoder is None else decoder.decode(list(pieces))

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the whole pipeline in canonical form: the same before saving and after loading."""
        canonical = {"pipeline": json.loads(self._backend.to_str()), "specials": dataclasses.asdict(self.specials)}
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()

    def save(self, directory: str | Path, *, token_types: bool = True, max_length: int = 512) -> None:
        """Writes files from which this library and transformers 4.57 and 5 (AutoTokenizer) return the same ids.

        tokenizer.json is the whole pipeline; tokenizer_config.json and special_tokens_map.json name the special tokens.
        For older tools there are also spiece.model (as it was read) or vocab.txt (of a WordPiece tokenizer), and
        added_tokens.json if there are added tokens.

        Args:
            directory: created if needed; existing files of these names are replaced.
            token_types: whether transformers should return token_type_ids; false for a model that takes none.
            max_length: the longest row of the model, written unless the tokenizer's source files have an entry.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        names = {f"{role}_token": piece for role, piece in dataclasses.asdict(self.specials).items()}
        inputs = ["input_ids", "token_type_ids", "attention_mask"]
        token_types = token_types and self.has_token_types
        config = {
            "model_max_length": max_length,
            **self._options,
            **names,
            # In transformers 5 a model's own class rebuilds the pipeline from the vocabulary; this one reads the file.
            "tokenizer_class": "PreTrainedTokenizerFast",
            # transformers 5 returns token types only if they are listed here.
            "model_input_names": inputs if token_types else [name for name in inputs if name != "token_type_ids"],
        }
        if self.truncation_side != "right":
            config["truncation_side"] = self.truncation_side
        if self.cleans_up_spaces:  # not the default of PreTrainedTokenizerFast
            config["clean_up_tokenization_spaces"] = True
        (directory / JSON_FILE).write_text(self._backend.to_str(), encoding="utf-8")
        _write_json(directory / SETTINGS_FILE, config)
        _write_json(directory / SPECIALS_FILE, names)
        if self._sentencepiece_model is not None:
            (directory / SENTENCEPIECE_FILE).write_bytes(self._sentencepiece_model)
        vocabulary, added = self.pieces[: self._vocabulary_size], self.pieces[self._vocabulary_size :]
        if self.kind == "wordpiece":
            (directory / VOCAB_FILE).write_text("".join(f"{piece}\n" for piece in vocabulary), encoding="utf-8")
        if added:
            _write_json(directory / ADDED_FILE, {piece: self._ids[piece] for piece in added})

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]!r})"

    def _as_arrays(self, rows: Sequence[tuple[list[int], int]], width: int) -> dict[str, Int[np.ndarray, "B T"]]:
        shape = (len(rows), width)
        input_ids = np.full(shape, self.pad_id, np.int32)
        attention_mask, token_type_ids = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        for index, (ids, ones) in enumerate(rows):
            input_ids[index, : len(ids)] = ids
            attention_mask[index, : len(ids)] = 1
            token_type_ids[index, ones : len(ids)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}


@contextlib.contextmanager
def _text_errors(texts: Sequence[str]) -> Iterator[None]:
    """Acts as `library_errors`, and names the text that is not a string or contains half a surrogate pair."""
    try:
        with library_errors():
            yield
    except ValueError as error:
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"text {number} is of type {type(text).__name__}; expected a string") from error
            try:
                text.encode()
            except UnicodeEncodeError as surrogate:
                raise ValueError(
                    f"text {number} holds half a surrogate pair, {text[surrogate.start]!r} at character "
                    f"{surrogate.start}, which is not a character"
                ) from error
        raise


def _without_white_space(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def kept_lengths(first: int, second: int, room: int, *, odd_to_first: bool = True) -> tuple[int, int]:
    """Returns how many tokens of each text remain if the longer one is shortened, one token at a time, until both fit.

    Args:
        first: number of tokens of the first text.
        second: number of tokens of the second text.
        room: number of tokens for both.
        odd_to_first: whether the second text is shortened if both are equally long. Otherwise half the room, rounded
            down, goes to the shorter text, or to the first one if they are equally long.

    Source: google-research/bert run_classifier.py, _truncate_seq_pair; tokenizers 0.22 utils/truncation.rs.
    """
    if first + second <= room:
        return first, second
    small, large = room // 2, room - room // 2
    if first <= small:
        return first, room - first
    if second <= small:
        return room - second, second
    return (large, small) if odd_to_first or first > second else (small, large)


def _pieces_in_order(backend: tokenizers.Tokenizer) -> list[str]:
    ids = backend.get_vocab(with_added_tokens=True)
    pieces = sorted(ids, key=ids.__getitem__)
    gap = next((index for index, piece in enumerate(pieces) if ids[piece] != index), None)
    if gap is not None:
        raise ValueError(
            f"its {len(pieces)} pieces do not have the ids 0 to {len(pieces) - 1}: id {gap} is missing or duplicated"
        )
    return pieces


def _starts_sentencepiece_word(piece: str) -> bool:
    return (
        piece.startswith((SPACE, "<"))
        or piece in _INNER_PUNCTUATION
        or any(character.lower() not in _INNER_CHARACTERS for character in piece)
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
