"""The two text pipelines of the three papers, as `tokenizers` objects: ALBERT's unigram and BERT's WordPiece."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from flax_lite.tokenization.number_comma import comma_pattern, penalise
from flax_lite.tokenization.sentencepiece_model import USER_DEFINED, SentencePieceModel

SPACE = "▁"  # how SentencePiece writes a space
# Reading JSON, `tokenizers` loses the last bit of a long float; seven decimals survive any number of round trips, and
# are finer than the 32-bit floats in a SentencePiece file (1e-6 at scores near -12).
SCORE_DECIMALS = 7
MAX_WORD_CHARACTERS = 100  # longer words are unknown; google-research/bert tokenization.py, WordpieceTokenizer


@dataclasses.dataclass(frozen=True)
class Specials:
    """The five pieces every encoder needs, by role."""

    pad: str
    unk: str
    cls: str
    sep: str
    mask: str

    def __iter__(self) -> Iterator[str]:
        return iter(dataclasses.astuple(self))

    def __len__(self) -> int:
        return len(dataclasses.fields(self))

    def missing_from(self, pieces: Iterable[str]) -> list[str]:
        """Those that a vocabulary lacks."""
        known = set(pieces)
        return [special for special in self if special not in known]


ALBERT_SPECIALS = Specials(pad="<pad>", unk="<unk>", cls="[CLS]", sep="[SEP]", mask="[MASK]")
BERT_SPECIALS = Specials(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")


def albert_normalizer(*, lowercase: bool, strip_accents: bool, charsmap: bytes = b"") -> normalizers.Normalizer:
    r"""ALBERT's: spaces collapsed, \`\` and '' to ", accents dropped, lower case, then SentencePiece's own map.

    Combining marks of class zero (vowel signs of Indic scripts, emoji variation selectors), which the slow tokenizer
    keeps and the English model reads as unknown, are dropped with the accents.

    Source: transformers 4.57 AlbertTokenizer.preprocess_text; sentencepiece/src/normalizer.cc.
    """
    steps: list[normalizers.Normalizer] = [
        # What Python's str.split() calls white space: the regular expression's own class and four separators.
        normalizers.Replace(Regex(r"[\s\x1c-\x1f]+"), " "),
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
    ]
    if strip_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if charsmap:
        steps.append(normalizers.Precompiled(charsmap))
    # Decomposition and the map make spaces of their own.
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps)


def sentencepiece_backend(
    model: SentencePieceModel,
    specials: Specials,
    *,
    lowercase: bool,
    strip_accents: bool,
    added: Sequence[AddedToken] = (),
) -> tokenizers.Tokenizer:
    """The pipeline equal to the slow ALBERT tokenizer on a SentencePiece file, its "9," rule included."""
    vocab = list(zip(model.pieces, model.scores, strict=True))
    user_defined = sorted(model.of_type(USER_DEFINED), key=lambda piece: (-len(piece), piece))
    isolated = [re.escape(piece) for piece in user_defined]
    if (commas := comma_pattern(vocab, model.unk_id)) is not None:
        isolated.append(commas)
    normalizer = albert_normalizer(lowercase=lowercase, strip_accents=strip_accents, charsmap=model.charsmap)
    return unigram_backend(penalise(vocab), specials, normalizer, isolated, added)


def unigram_backend(
    vocab: Sequence[tuple[str, float]],
    specials: Specials,
    normalizer: normalizers.Normalizer,
    isolated: Sequence[str] = (),
    added: Sequence[AddedToken] = (),
) -> tokenizers.Tokenizer:
    """A unigram pipeline over words that begin with "▁".

    Args:
        vocab: pieces and log probabilities in id order, specials included.
        specials: which of them are special.
        normalizer: applied to the text between specials.
        isolated: regular expressions of what is never joined with its surroundings.
        added: tokens beyond the vocabulary, in id order.
    """
    unk_id = next(index for index, (piece, _) in enumerate(vocab) if piece == specials.unk)
    rounded = [(piece, round(score, SCORE_DECIMALS)) for piece, score in vocab]
    backend = tokenizers.Tokenizer(models.Unigram(rounded, unk_id, False))
    backend.normalizer = normalizer
    splits = [pre_tokenizers.Split(Regex("|".join(isolated)), "isolated")] if isolated else []
    # "always": the text after a special in the middle begins a word too, as in the slow tokenizer.
    words = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, *splits])
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.add_tokens([_taking_spaces(token) for token in added])
    return _with_specials(backend, specials, _sentencepiece_special)


def _sentencepiece_special(special: str) -> AddedToken:
    # The slow tokenizer lower-cases before it looks for specials: "<PAD>" is one, "[cls]" is not.
    return _taking_spaces(AddedToken(special, special=True, normalized=special == special.lower()))


def _taking_spaces(token: AddedToken) -> AddedToken:
    """What is found in normalised text takes the spaces around it, which the slow tokenizer strips from its pieces."""
    if not token.normalized:
        return token
    flags = {name: getattr(token, name) for name in ("single_word", "special", "normalized")}
    return AddedToken(token.content, lstrip=True, rstrip=True, **flags)


def wordpiece_backend(
    vocab: Mapping[str, int],
    specials: Specials,
    *,
    lowercase: bool,
    strip_accents: bool,
    chinese_characters: bool,
    added: Sequence[AddedToken] = (),
) -> tokenizers.Tokenizer:
    """BERT's pipeline: clean text, split at spaces, punctuation and (if asked) CJK characters, longest piece first.

    Source: google-research/bert tokenization.py (BasicTokenizer, WordpieceTokenizer).
    """
    model = models.WordPiece(dict(vocab), unk_token=specials.unk, max_input_chars_per_word=MAX_WORD_CHARACTERS)
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = bert_normalizer(
        lowercase=lowercase, strip_accents=strip_accents, chinese_characters=chinese_characters
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_tokens(list(added))
    return _with_specials(backend, specials, lambda special: AddedToken(special, special=True, normalized=False))


def bert_normalizer(*, lowercase: bool, strip_accents: bool, chinese_characters: bool) -> normalizers.Normalizer:
    """BERT's normalisation: control characters dropped, spaces around CJK characters, lower case without accents."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese_characters, strip_accents=strip_accents, lowercase=lowercase
    )


def _with_specials(
    backend: tokenizers.Tokenizer, specials: Specials, as_token: Callable[[str], AddedToken]
) -> tokenizers.Tokenizer:
    backend.add_special_tokens([as_token(special) for special in specials])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{specials.cls}:0 $A:0 {specials.sep}:0",
        pair=f"{specials.cls}:0 $A:0 {specials.sep}:0 $B:1 {specials.sep}:1",
        special_tokens=[(special, backend.token_to_id(special)) for special in (specials.cls, specials.sep)],
    )
    return backend
