"""Trains a tokenizer on texts, such that the same texts always give the same bytes."""

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

from flax_lite.tokenization.normalization import Accents, Case, Normalization, decide
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
# Sums of floats in another order move a score by 1e-14 (measured); rounding makes the order of the sums irrelevant.
_SCORE_DECIMALS = 6
# tokenizers unigram trainer: characters that no longer have a score of their own get the lowest one, plus this much for
# each such character before it, in an order that differs between runs.
_FALLBACK_STEP = 1e-4


@dataclasses.dataclass(frozen=True)
class TokenizerSpec:
    """A request to train: which kind, how many pieces at most, and what becomes of case and accents."""

    kind: Kind
    vocab_size: int
    case: Case = "lower"
    accents: Accents = "auto"


def parse_tokenizer_spec(spec: str) -> TokenizerSpec | None:
    """Reads "train:unigram:8000" or "train:wordpiece:8000".

    Returns:
        The request, or None where `spec` is something to load.

    Raises:
        ValueError: begins with "train:" or looks like it, but is misspelled.
    """
    form = 'expected "train:unigram:8000" or "train:wordpiece:8000" (any number of pieces)'
    head, *rest = spec.split(":")
    if head != "train" or not rest:
        if len(rest) == 2 and (rest[0] in _KINDS or rest[1].isdecimal()):
            raise ValueError(f"tokenizer {spec!r} begins with {head!r}; {form}")
        return None
    if len(rest) != 2:
        raise ValueError(f"tokenizer {spec!r} has {len(rest)} parts after 'train'; {form}")
    kind, size = rest
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
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
    r"""Trains a vocabulary: ALBERT's kind of unigram model, or BERT's kind of WordPiece.

    English gets what the papers' vocabularies have: lower case without accents. Where accents and other marks are more
    than a few names' (1% of the text stands in words that have any), they are kept: they tell words apart in French and
    Vietnamese, and are letters in Hindi, Thai, Japanese and Russian. What is kept stands as it was written: Unicode's
    composed and decomposed spellings of a word stay two, so bring texts that mix them into one form (NFC) beforehand.
    White space is collapsed; unigram also writes \`\` and '' as ", WordPiece also drops control characters.

    Pieces never join letters, digits and punctuation, and the rarest characters (0.005% of the text) get none. Ids are
    canonical: specials first (0 to 4: padding, unknown, [CLS], [SEP], [MASK]), then unigram pieces by falling score and
    WordPiece pieces by rising length, then by piece. The same texts in any order give the same tokenizer, as long as
    they have fewer different words than are kept.

    Only the counts of words are kept, a million of them, of which the rarest give way; and the learner sees 2^28 words
    at most, in the proportions of the text. So memory (1.3 GiB at most) and the time of learning are bounded, and any
    amount of text will do.

    Args:
        texts: read once, one held at a time; from a corpus, its paragraphs.
        kind: "unigram" or "wordpiece".
        vocab_size: the most pieces, specials included; little text gives fewer (see `Tokenizer.vocab_size`).
        case: "lower", or "keep".
        accents: "strip" (marks are dropped; unigram also writes characters of compatibility as what they stand for),
            "keep", or "auto": by the text, of a long one by its first million different words.
        report: is told what was decided, and how much of the text it changes; if None, what is dropped without having
            been asked for is a warning of the logger "flax_lite".

    Raises:
        ValueError: no text, an unknown kind, case or accents, or a `vocab_size` with no room for every character.

    Source: google-research/albert README (spm_train flags); the trainers of the `tokenizers` library.
    """
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of tokenizer {kind!r}; expected one of {', '.join(_KINDS)}")
    train, make, words, space = _PARTS[kind]
    found: list[Normalization] = []

    def choose(raw: Mapping[str, int]) -> normalizers.Normalizer:
        found.append(decide(raw, make, case, accents))
        return make(found[0].lowercase, found[0].strip_accents)

    counts, characters = _count(texts, choose, words, space)
    if report is not None:
        report(found[0])
    elif accents == "auto" and found[0].is_lossy:
        logger.warning('%s (accents="keep" keeps accents)', found[0])
    return train(counts, characters, vocab_size, found[0])


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


# A word takes the space before it along.
_UNIGRAM_WORDS = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
        # spm_train's split_by_number and split_by_unicode_script: numbers apart, every other mark by itself.
        pre_tokenizers.Split(Regex(rf"{SPACE}?\p{{N}}+|[^\p{{L}}\p{{M}}\p{{N}}{SPACE}]"), "isolated"),
    ]
)


def _learn_unigram(counts: Counter[str], vocab_size: int) -> dict[str, float]:
    learner = tokenizers.Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Split(SEPARATOR, "removed")
    marked = _mark_frequent_words(counts, vocab_size)
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size + len(marked),  # every marker takes a piece of its own
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
    """The most frequent words, each once more, with a marker behind it that no other word has.

    The trainer takes its candidates from the list of distinct words, whatever their counts, and only what goes on in
    two ways there: "which" is a candidate only if "whichever" is in the text. A second occurrence with another end
    makes every frequent word one. Of 1,800 Wikipedia paragraphs and 8,000 pieces this makes 1.63 pieces a word of 267
    others, without it 1.77; SentencePiece's own trainer, which counts, makes 1.61.
    """
    words: Counter[str] = Counter()
    for word, count in counts.items():
        if begin := _first_letters(word):
            words[begin] += count
    frequent = sorted((word for word in words if words[word] > 1), key=lambda word: (-words[word], word))
    return [word + chr(FIRST_MARKER + index) for index, word in enumerate(frequent[: min(vocab_size, MARKERS)])]


def _first_letters(word: str) -> str:
    """The number, or the letters with their marks, that a word behind a space begins with."""
    begin = re.match(rf"{SPACE}(?:\d+|[^\W\d_]+)", word)
    if begin is None or begin.end() == len(word):
        return word if begin else ""
    # `re` has no class for marks.
    rest = itertools.takewhile(lambda each: each.isalpha() or unicodedata.category(each)[0] == "M", word[begin.end() :])
    return begin[0] + "".join(rest)


def _canonical_scores(learned: dict[str, float], room: int) -> list[tuple[str, float]]:
    """Pieces by falling score, then by piece, with scores that do not depend on the trainer's random order."""
    lowest = min(learned.values())
    characters = {piece for piece in learned if len(piece) == 1}
    last_fallback = lowest + _FALLBACK_STEP * len(characters)
    scores = {
        piece: lowest if piece in characters and score <= last_fallback else score for piece, score in learned.items()
    }
    rounded = {piece: round(score, _SCORE_DECIMALS) for piece, score in scores.items()}
    ordered = sorted(rounded.items(), key=lambda item: (-item[1], item[0]))
    # Where the characters alone fill the room, the trainer forgets to stop.
    joined = [item for item in ordered if item[0] not in characters]
    surplus = {piece for piece, _ in joined[max(0, room - len(characters)) :]}
    return [item for item in ordered if item[0] not in surplus]


_WORDPIECE_WORDS = pre_tokenizers.BertPreTokenizer()


def _wordpiece_normalizer(lowercase: bool, strip_accents: bool) -> normalizers.Normalizer:
    return bert_normalizer(lowercase=lowercase, strip_accents=strip_accents, chinese_characters=True)


def _train_wordpiece(counts: Counter[str], characters: set[str], vocab_size: int, text: Normalization) -> Tokenizer:
    # The trainer joins the most frequent pair, of equals the one with the lower ids; it numbers "##x" pieces in random
    # order unless they are given. A first pass, over the distinct words and with no room for joined pieces, finds them.
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
    # Without a word on accents, readers of tokenizer_config.json let them go with the case.
    accents = {} if text.strip_accents == text.lowercase else {"strip_accents": text.strip_accents}
    return Tokenizer(backend, BERT_SPECIALS, options={"do_lower_case": text.lowercase, **accents})


def _learn_wordpieces(counts: Mapping[str, int], vocab_size: int, given: Sequence[str], alphabet_size: int) -> set[str]:
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token=BERT_SPECIALS.unk))
    learner.pre_tokenizer = pre_tokenizers.Split(SEPARATOR, "removed")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=list(given),
        limit_alphabet=alphabet_size,  # all: coverage has chosen them already
        show_progress=False,
    )
    learner.train_from_iterator(occurrences(counts), trainer)
    return set(learner.get_vocab(with_added_tokens=False))


def _count(
    texts: Iterable[str], choose: Choose, words: pre_tokenizers.PreTokenizer, space: str
) -> tuple[Counter[str], set[str]]:
    """What is learned from: words with their counts; and all their characters, but for `space`."""

    def cut(text: str) -> list[str]:
        return [word for word, _ in words.pre_tokenize_str(text)]

    return cover_characters(scale_down(count_words(texts, choose, cut)), space)


def _check_room(vocab_size: int, alphabet: int, specials: int) -> None:
    if vocab_size < alphabet + specials:
        raise ValueError(
            f"vocab_size={vocab_size} has no room for the {alphabet} characters of the texts and {specials} special "
            f"pieces; give at least {alphabet + specials}, better several times as many"
        )


# By kind: how it is trained, its normalizer, what cuts words, and what begins one that follows a space.
_PARTS = {
    "unigram": (_train_unigram, _unigram_normalizer, _UNIGRAM_WORDS, SPACE),
    "wordpiece": (_train_wordpiece, _wordpiece_normalizer, _WORDPIECE_WORDS, ""),
}
