"""Trains tokenizers; the same texts always result in the same bytes.

The trainers are those of the `tokenizers` library. They keep all words in memory, and the random order of their hash
tables breaks ties. So words are counted here (`flax_lite.tokenization.word_counts`), and scores and ids are made
canonical afterwards.
"""

import dataclasses
import difflib
import itertools
import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

from flax_lite.tokenization.normalization import Accents, Case, Normalization, choose_normalization
from flax_lite.tokenization.recipes import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    SPACE,
    albert_normalizer,
    bert_normalizer,
    unigram_backend,
    wordpiece_backend,
)
from flax_lite.tokenization.tokenizer import Tokenizer
from flax_lite.tokenization.word_counts import (
    FIRST_MARKER,
    MARKERS,
    PRIVATE_USE,
    SEPARATOR,
    Choose,
    count_words,
    cover_characters,
    occurrences,
    scale_down,
)

logger = logging.getLogger("flax_lite")
Kind = Literal["unigram", "wordpiece"]
_KINDS: tuple[str, ...] = get_args(Kind)
# The order of summation changes a score by 1e-14 (measured); rounding removes the difference.
_SCORE_DECIMALS = 6
# The unigram trainer of `tokenizers` gives characters that lost their score the lowest score, plus this step for each
# such character before, in an order that differs between runs.
_FALLBACK_STEP = 1e-4


@dataclasses.dataclass(frozen=True)
class TokenizerSpec:
    """Specification of a training: the kind, the maximum number of pieces, and the treatment of case and accents."""

    kind: Kind
    vocab_size: int
    case: Case = "lower"
    accents: Accents = "auto"


def parse_tokenizer_spec(spec: str) -> TokenizerSpec | None:
    """Parses "train:unigram:8000" or "train:wordpiece:8000".

    Returns:
        The specification, or None if `spec` names a tokenizer to load.

    Raises:
        ValueError: if `spec` starts with "train:", or has the same form, but is not valid.
    """
    form = 'expected "train:unigram:8000" or "train:wordpiece:8000" (any number of pieces)'
    head, *rest = spec.split(":")
    if head != "train" or not rest:
        if len(rest) == 2 and (rest[0] in _KINDS or rest[1].isdecimal()):
            raise ValueError(f"tokenizer {spec!r} starts with {head!r}; {form}")
        return None
    if len(rest) != 2:
        raise ValueError(f"tokenizer {spec!r} has {len(rest)} parts after 'train'; {form}")
    kind, size = rest
    if kind not in _KINDS:
        close = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"tokenizer {spec!r} asks for the kind {kind!r}{hint}; {form}")
    if not (size.isascii() and size.isdecimal() and int(size) > 0):
        raise ValueError(f"tokenizer {spec!r} asks for {size!r} pieces; {form}")
    return TokenizerSpec("unigram" if kind == "unigram" else "wordpiece", int(size))


def train_tokenizer(
    texts: Iterable[str],
    kind: Kind,
    vocab_size: int,
    *,
    case: Case = "lower",
    accents: Accents = "auto",
    report: Callable[[Normalization], None] | None = None,
) -> Tokenizer:
    r"""Trains a unigram tokenizer like ALBERT's, or a WordPiece tokenizer like BERT's.

    By default, English text is normalized as for the papers' vocabularies: lower case, without accents. Accents and
    other marks are kept if more than 1% of the text is in words that have any: they distinguish words in French and
    Vietnamese, and belong to the letters in Hindi, Thai, Japanese and Russian. Kept marks are not normalized: composed
    and decomposed Unicode spellings of a word remain different, so normalize mixed texts (NFC) beforehand. White space
    is collapsed; unigram also replaces \`\` and '' by ", WordPiece also removes control characters.

    Pieces never join letters, digits and punctuation, and the rarest characters (0.005% of the text) have no piece. Ids
    are canonical: special tokens first (0 to 4: padding, unknown, [CLS], [SEP], [MASK]), then unigram pieces by
    descending score or WordPiece pieces by ascending length, ties in lexical order. The order of the texts does not
    matter, as long as they have fewer distinct words than are kept.

    Memory is at most 1.3 GiB and training time is bounded for any amount of text: only the counts of a million words
    are kept, the most frequent ones, and they are scaled down to 2^28 occurrences in total.

    Args:
        texts: read once, one at a time; of a corpus, its paragraphs.
        kind: "unigram" or "wordpiece".
        vocab_size: the maximum number of pieces, special tokens included; a short text results in fewer (see
            `Tokenizer.vocab_size`).
        case: "lower" or "keep".
        accents: "strip" (remove marks; unigram also replaces compatibility characters by their equivalents), "keep", or
            "auto": decide by the text, or by the first million distinct words of a long text.
        report: called with the chosen normalization and its effect on the text. If None, a logger warning ("flax_lite")
            reports losses that were not asked for.

    Raises:
        ValueError: if there is no text, the kind, case or accents are unknown, or `vocab_size` has no room for every
            character.

    Source: google-research/albert README (spm_train flags); the trainers of the `tokenizers` library.
    """
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of tokenizer {kind!r}; expected one of {', '.join(_KINDS)}")
    train, make_normalizer, words, space = _PARTS[kind]
    chosen: list[Normalization] = []

    def choose(raw: Mapping[str, int]) -> normalizers.Normalizer:
        chosen.append(choose_normalization(raw, make_normalizer, case, accents))
        return make_normalizer(chosen[0].lowercase, chosen[0].strip_accents)

    counts, characters = _count(texts, choose, words, space)
    if report is not None:
        report(chosen[0])
    elif accents == "auto" and chosen[0].is_lossy:
        logger.warning('%s (accents="keep" keeps accents)', chosen[0])
    return train(counts, characters, vocab_size, chosen[0])


def _train_unigram(counts: Counter[str], characters: set[str], vocab_size: int, text: Normalization) -> Tokenizer:
    normalizer = _unigram_normalizer(text.lowercase, text.strip_accents)
    _check_room(vocab_size, len(characters | {SPACE}), len(ALBERT_SPECIALS))
    learned = _learn_unigram(counts, vocab_size)
    vocab = [(special, 0.0) for special in ALBERT_SPECIALS]
    vocab += _canonical_scores(learned, vocab_size - len(ALBERT_SPECIALS))
    backend = unigram_backend(vocab, ALBERT_SPECIALS, normalizer)
    options = {"do_lower_case": text.lowercase, "keep_accents": not text.strip_accents}
    return Tokenizer(backend, ALBERT_SPECIALS, options=options)


def _unigram_normalizer(lowercase: bool, strip_accents: bool) -> normalizers.Normalizer:
    return albert_normalizer(lowercase=lowercase, strip_accents=strip_accents)


# Splits text into words, each with the space before it.
_UNIGRAM_WORDS = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
        # spm_train's split_by_number and split_by_unicode_script: numbers separately, every other symbol separately.
        pre_tokenizers.Split(Regex(rf"{SPACE}?\p{{N}}+|[^\p{{L}}\p{{M}}\p{{N}}{SPACE}]"), "isolated"),
    ]
)


def _learn_unigram(counts: Counter[str], vocab_size: int) -> dict[str, float]:
    learner = tokenizers.Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Split(SEPARATOR, "removed")
    marked = _mark_frequent_words(counts, vocab_size)
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size + len(marked),  # every marker becomes a piece
        special_tokens=list(ALBERT_SPECIALS),
        unk_token=ALBERT_SPECIALS.unk,
        show_progress=False,
    )
    learner.train_from_iterator(itertools.chain(occurrences(counts), marked), trainer)
    learned: dict[str, float] = dict(json.loads(learner.to_str())["model"]["vocab"])
    return {
        piece: score
        for piece, score in learned.items()
        if piece not in (*ALBERT_SPECIALS,) and not re.search(PRIVATE_USE, piece)
    }


def _mark_frequent_words(counts: Counter[str], vocab_size: int) -> list[str]:
    """Returns the most frequent words, each followed by a unique marker character.

    The trainer takes its candidate pieces from the list of distinct words, ignoring their counts, and only those
    strings that have two different continuations there: "which" is a candidate only if "whichever" is in the text. A
    second occurrence with another continuation makes every frequent word a candidate. With 1,800 Wikipedia paragraphs
    and 8,000 pieces, 267 other paragraphs are encoded with 1.63 pieces per word instead of 1.77; SentencePiece's own
    trainer, which uses the counts, reaches 1.61.
    """
    words: Counter[str] = Counter()
    for word, count in counts.items():
        if start := _first_letters(word):
            words[start] += count
    frequent = sorted((word for word in words if words[word] > 1), key=lambda word: (-words[word], word))
    return [word + chr(FIRST_MARKER + index) for index, word in enumerate(frequent[: min(vocab_size, MARKERS)])]


def _first_letters(word: str) -> str:
    """Returns the number, or the letters with their marks, that a word after a space starts with."""
    start = re.match(rf"{SPACE}(?:\d+|[^\W\d_]+)", word)
    if start is None or start.end() == len(word):
        return word if start else ""
    # `re` has no character class for combining marks.
    rest = itertools.takewhile(lambda char: char.isalpha() or unicodedata.category(char)[0] == "M", word[start.end() :])
    return start[0] + "".join(rest)


def _canonical_scores(learned: dict[str, float], room: int) -> list[tuple[str, float]]:
    """Returns pieces by descending score, then lexically, with scores independent of the trainer's random order."""
    lowest = min(learned.values())
    characters = {piece for piece in learned if len(piece) == 1}
    last_fallback = lowest + _FALLBACK_STEP * len(characters)
    scores = {
        piece: lowest if piece in characters and score <= last_fallback else score for piece, score in learned.items()
    }
    rounded = {piece: round(score, _SCORE_DECIMALS) for piece, score in scores.items()}
    ordered = sorted(rounded.items(), key=lambda item: (-item[1], item[0]))
    # If the characters alone fill the vocabulary, the trainer returns more pieces than requested.
    joined = [item for item in ordered if item[0] not in characters]
    surplus = {piece for piece, _ in joined[max(0, room - len(characters)) :]}
    return [item for item in ordered if item[0] not in surplus]


_WORDPIECE_WORDS = pre_tokenizers.BertPreTokenizer()


def _wordpiece_normalizer(lowercase: bool, strip_accents: bool) -> normalizers.Normalizer:
    return bert_normalizer(lowercase=lowercase, strip_accents=strip_accents, chinese_characters=True)


def _train_wordpiece(counts: Counter[str], characters: set[str], vocab_size: int, text: Normalization) -> Tokenizer:
    # The trainer joins the most frequent pair; ties go to the lower ids. It numbers "##x" pieces in random order unless
    # they are given, so a first pass over the distinct words, with no room for joined pieces, collects them.
    alphabet = sorted(_learn_wordpieces(dict.fromkeys(counts, 1), 1, (), len(characters)))
    _check_room(vocab_size, len(alphabet), len(BERT_SPECIALS))
    learned = _learn_wordpieces(counts, vocab_size - len(BERT_SPECIALS), alphabet, len(characters))
    pieces = [*BERT_SPECIALS, *sorted(learned, key=lambda piece: (len(piece), piece))]
    backend = wordpiece_backend(
        {piece: id_ for id_, piece in enumerate(pieces)},
        BERT_SPECIALS,
        lowercase=text.lowercase,
        strip_accents=text.strip_accents,
        chinese_characters=True,
    )
    # Without this entry, readers of tokenizer_config.json strip accents if they lower-case.
    accents = {} if text.strip_accents == text.lowercase else {"strip_accents": text.strip_accents}
    return Tokenizer(backend, BERT_SPECIALS, options={"do_lower_case": text.lowercase, **accents})


def _learn_wordpieces(counts: Mapping[str, int], vocab_size: int, given: Sequence[str], alphabet_size: int) -> set[str]:
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token=BERT_SPECIALS.unk))
    learner.pre_tokenizer = pre_tokenizers.Split(SEPARATOR, "removed")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(given),
        limit_alphabet=alphabet_size,  # all characters; rare ones are already removed
        show_progress=False,
    )
    learner.train_from_iterator(occurrences(counts), trainer)
    return set(learner.get_vocab(with_added_tokens=False))


def _count(
    texts: Iterable[str], choose: Choose, words: pre_tokenizers.PreTokenizer, space: str
) -> tuple[Counter[str], set[str]]:
    """Returns the words to train on with their counts, and all their characters except `space`."""

    def split(text: str) -> list[str]:
        return [word for word, _ in words.pre_tokenize_str(text)]

    return cover_characters(scale_down(count_words(texts, choose, split)), space)


def _check_room(vocab_size: int, alphabet: int, specials: int) -> None:
    if vocab_size < alphabet + specials:
        raise ValueError(
            f"vocab_size={vocab_size} has no room for the {alphabet} characters of the texts and {specials} special "
            f"tokens; give at least {alphabet + specials}, preferably several times as many"
        )


# Per kind: training function, normalizer factory, word splitter, and the prefix of words that follow a space.
_PARTS = {
    "unigram": (_train_unigram, _unigram_normalizer, _UNIGRAM_WORDS, SPACE),
    "wordpiece": (_train_wordpiece, _wordpiece_normalizer, _WORDPIECE_WORDS, ""),
}
