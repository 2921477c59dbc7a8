"""The text pipelines of ALBERT (unigram) and BERT (WordPiece) as `tokenizers` objects.

After segmentation, the reference ALBERT tokenizer splits a piece such as "▁2010," again, into "▁2010" and ",". No step
of a `tokenizers` pipeline runs after the model, so this rule is expressed by scores and one regular expression: a
penalty keeps such pieces from being chosen, and the comma is split off beforehand where the penalty alone would change
the other pieces. transformers' fast tokenizer built from spiece.model has no such rule: of a golden text's 99 ids it
gets 59 wrong.

Source: google-research/albert tokenization.py (encode_pieces); transformers 4.57 AlbertTokenizer._tokenize.
"""

import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from flax_lite.tokenization.sentencepiece_model import USER_DEFINED, SentencePieceModel

# Far below any sum of scores of a number's digits; the lowest score of albert-base-v2's vocabulary is -14.
PENALTY = -1e3
_NUMBER_COMMA = re.compile(r"[0-9],$")
_GROUP = 3  # digits between two commas
SPACE = "▁"  # SentencePiece's symbol for a space
# `tokenizers` loses the last bit of a long float when it reads JSON. Seven decimals survive any number of round trips,
# and are finer than the 32-bit floats in a SentencePiece file (1e-6 at scores near -12).
SCORE_DECIMALS = 7
MAX_WORD_CHARACTERS = 100  # longer words are unknown; google-research/bert tokenization.py, WordpieceTokenizer


def penalize(vocab: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Returns the vocabulary with the score of every piece that ends in a digit and a comma set to `PENALTY`."""
    return [(piece, PENALTY if _NUMBER_COMMA.search(piece) else score) for piece, score in vocab]


def comma_pattern(vocab: Sequence[tuple[str, float]], unk_id: int) -> str | None:
    """Returns a regular expression for the commas that the penalty alone would leave inside another piece.

    The model segments "1,050" as "▁1," "050", from which the rule makes "▁1" "," "050"; without "▁1," the best
    segmentation would be "▁" "1,0" "50". Such numbers are found by trying all combinations of a piece "▁N," and a digit
    group that a piece with an inner comma may reach into. In albert-base-v2's vocabulary 17 numbers have such a group,
    nearly all of them with "▁11,", "▁21," or "▁31,".

    Args:
        vocab: pieces with the model's own scores, in id order.
        unk_id: the unknown piece's id.

    Returns:
        The pattern, which matches single commas in text where spaces are "▁"; None if no comma needs it.
    """
    numbers = [piece[:-1] for piece, _ in vocab if re.fullmatch(r"▁[0-9]+,", piece)]
    inner = [m.groups() for piece, _ in vocab if (m := re.fullmatch(r"(▁?[0-9]*),([0-9]+)[^0-9]?.*", piece))]
    if not numbers or not inner:
        return None
    # Suffixes that may follow a digit group within one piece, such as "%" or ",000"; with one, the choice may differ.
    tails = sorted({m[1] for piece, _ in vocab if (m := re.fullmatch(r"▁?[0-9]+([^0-9].*)", piece)) and m[1] != ","})
    original = models.Unigram(list(vocab), unk_id, False)
    penalized = models.Unigram(penalize(vocab), unk_id, False)

    def has_number_with_comma(number: str, rest: str) -> bool:
        return any(token.value == f"{number}," for token in original.tokenize(f"{number},{rest}"))

    def has_single_comma(number: str, rest: str) -> bool:
        return any(token.value == "," for token in penalized.tokenize(f"{number},{rest}"))

    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for number in numbers:
        for rest in _digit_groups({tail for head, tail in inner if number.endswith(head)}):
            if has_number_with_comma(number, rest) and not has_single_comma(number, rest):
                unless = {tail[0] for tail in tails if not has_number_with_comma(number, rest + tail)}
                groups[number, "".join(sorted(unless))].append(rest)
    alternatives = [
        f"(?<={number},)(?=(?:{'|'.join(rests)})(?![0-9{re.escape(unless)}]))"
        for (number, unless), rests in sorted(groups.items())
    ]
    return f",(?:{'|'.join(alternatives)})" if alternatives else None


def _digit_groups(prefixes: set[str]) -> list[str]:
    """Returns all strings of up to three digits that start with one of the prefixes."""
    return sorted(
        {
            prefix + "".join(digits)
            for prefix in prefixes
            for more in range(max(0, _GROUP - len(prefix)) + 1)
            for digits in itertools.product("0123456789", repeat=more)
        }
    )


@dataclasses.dataclass(frozen=True)
class Specials:
    """The five special tokens that every encoder needs, by role."""

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
        """Returns the special tokens that a vocabulary lacks."""
        known = set(pieces)
        return [special for special in self if special not in known]


ALBERT_SPECIALS = Specials(pad="<pad>", unk="<unk>", cls="[CLS]", sep="[SEP]", mask="[MASK]")
BERT_SPECIALS = Specials(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")


def albert_normalizer(*, lowercase: bool, strip_accents: bool, charsmap: bytes = b"") -> normalizers.Normalizer:
    r"""Returns ALBERT's normalizer.

    Its steps: collapse white space, replace \`\` and '' by ", strip accents, lower-case, apply SentencePiece's
    character map.

    Stripping accents also removes combining marks of class zero (vowel signs of Indic scripts, emoji variation
    selectors). The slow tokenizer keeps those, and the English vocabulary has no pieces for them.

    Source: transformers 4.57 AlbertTokenizer.preprocess_text; sentencepiece/src/normalizer.cc.
    """
    steps: list[normalizers.Normalizer] = [
        # White space as in Python's str.split(): the regular expression's own class and four separators.
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
    # Decomposition and the character map may produce spaces.
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
    """Returns the pipeline equal to the slow ALBERT tokenizer on a SentencePiece file, including its comma rule."""
    vocab = list(zip(model.pieces, model.scores, strict=True))
    user_defined = sorted(model.of_type(USER_DEFINED), key=lambda piece: (-len(piece), piece))
    isolated = [re.escape(piece) for piece in user_defined]
    if (commas := comma_pattern(vocab, model.unk_id)) is not None:
        isolated.append(commas)
    normalizer = albert_normalizer(lowercase=lowercase, strip_accents=strip_accents, charsmap=model.charsmap)
    return unigram_backend(penalize(vocab), specials, normalizer, isolated, added)


def unigram_backend(
    vocab: Sequence[tuple[str, float]],
    specials: Specials,
    normalizer: normalizers.Normalizer,
    isolated: Sequence[str] = (),
    added: Sequence[AddedToken] = (),
) -> tokenizers.Tokenizer:
    """Returns a unigram pipeline in which words start with "▁".

    Args:
        vocab: pieces and log probabilities in id order, including the special tokens.
        specials: the special tokens.
        normalizer: applied to the text between special tokens.
        isolated: regular expressions whose matches are never joined with adjacent text.
        added: added tokens; those after the vocabulary in id order.
    """
    unk_id = next(index for index, (piece, _) in enumerate(vocab) if piece == specials.unk)
    rounded = [(piece, round(score, SCORE_DECIMALS)) for piece, score in vocab]
    backend = tokenizers.Tokenizer(models.Unigram(rounded, unk_id, False))
    backend.normalizer = normalizer
    splits = [pre_tokenizers.Split(Regex("|".join(isolated)), "isolated")] if isolated else []
    # "always": text after a special token inside a text starts a word too, as in the slow tokenizer.
    words = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, *splits])
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    return _with_specials(backend, specials, map(_sentencepiece_token, _with_roles(added, specials)))


def _sentencepiece_token(token: AddedToken) -> AddedToken:
    """Returns the token of `_lower_cased_first`; one that is matched in normalized text also takes adjacent spaces."""
    found = _lower_cased_first(token)
    if not found.normalized:
        return found
    flags = {name: getattr(found, name) for name in ("single_word", "special", "normalized")}
    return AddedToken(found.content, lstrip=True, rstrip=True, **flags)


def wordpiece_backend(
    vocab: Mapping[str, int],
    specials: Specials,
    *,
    lowercase: bool,
    strip_accents: bool,
    chinese_characters: bool,
    added: Sequence[AddedToken] = (),
    slow: bool = False,
) -> tokenizers.Tokenizer:
    """Returns BERT's pipeline: clean text, split at spaces, punctuation and CJK characters, match longest pieces first.

    Args:
        vocab: ids by piece.
        specials: the special tokens.
        lowercase: whether to lower-case text.
        strip_accents: whether to strip accents.
        chinese_characters: whether each CJK character is a word.
        added: added tokens; those after the vocabulary in id order.
        slow: whether to do what only transformers' slow class does: compose characters (NFC), and lower-case text
            before looking for added tokens.

    Source: google-research/bert tokenization.py (BasicTokenizer, WordpieceTokenizer); transformers 4.57 BertTokenizer.
    """
    model = models.WordPiece(dict(vocab), unk_token=specials.unk, max_input_chars_per_word=MAX_WORD_CHARACTERS)
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = bert_normalizer(
        lowercase=lowercase, strip_accents=strip_accents, chinese_characters=chinese_characters
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    tokens = _with_roles(added, specials)
    if slow and not strip_accents:
        backend.normalizer = normalizers.Sequence([normalizers.NFC(), backend.normalizer])
    if slow and lowercase:
        tokens = [_lower_cased_first(token) for token in tokens]
    return _with_specials(backend, specials, tokens)


def _lower_cased_first(token: AddedToken) -> AddedToken:
    """Returns a token as the slow tokenizers match it, which lower-case text first: "<PAD>" is "<pad>"."""
    normalized = (token.special or token.normalized) and token.content == token.content.lower()
    flags = {name: getattr(token, name) for name in ("lstrip", "rstrip", "single_word", "special")}
    return AddedToken(token.content, normalized=normalized, **flags)


def bert_normalizer(*, lowercase: bool, strip_accents: bool, chinese_characters: bool) -> normalizers.Normalizer:
    """Returns BERT's normalizer: drop control characters, put spaces around CJK characters, fold case and accents."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese_characters, strip_accents=strip_accents, lowercase=lowercase
    )


def _with_roles(added: Sequence[AddedToken], specials: Specials) -> list[AddedToken]:
    """Returns the added tokens and the five special tokens, which are always marked special."""
    plain = {special: AddedToken(special, special=True, normalized=False) for special in specials}
    tokens = [token if token.special else plain.get(token.content, token) for token in added]
    existing = {token.content for token in tokens}
    return tokens + [token for special, token in plain.items() if special not in existing]


def _with_specials(
    backend: tokenizers.Tokenizer, specials: Specials, tokens: Iterable[AddedToken]
) -> tokenizers.Tokenizer:
    backend.add_tokens(list(tokens))
    backend.post_processor = row_template(backend, specials)
    return backend


def row_template(backend: tokenizers.Tokenizer, specials: Specials) -> processors.TemplateProcessing:
    """Returns the template of BERT and ALBERT: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with token type 1 from B on."""
    return processors.TemplateProcessing(
        single=f"{specials.cls}:0 $A:0 {specials.sep}:0",
        pair=f"{specials.cls}:0 $A:0 {specials.sep}:0 $B:1 {specials.sep}:1",
        special_tokens=[(special, backend.token_to_id(special)) for special in (specials.cls, specials.sep)],
    )
