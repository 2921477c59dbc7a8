"""The two text pipelines of the three papers, as `tokenizers` objects: ALBERT's unigram and BERT's WordPiece.

ALBERT's "9," rule is scores and one regular expression here, so that `tokenizer.json` can hold it. After segmentation,
the reference tokenizes a piece such as "▁2010," again as "2010" and ",". No step of a `tokenizers` pipeline runs after
the model, so the pieces are kept from being chosen, and the comma is cut off beforehand where that alone would change
the rest.

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

# Far below any sum of scores that a number's digits can reach (the genuine model's lowest score is -14).
PENALTY = -1e3


_NUMBER_COMMA = re.compile(r"[0-9],$")


_GROUP = 3  # digits between two commas


def penalize(vocab: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The vocabulary with every piece that ends in a digit and a comma put out of reach."""
    return [(piece, PENALTY if _NUMBER_COMMA.search(piece) else score) for piece, score in vocab]


def comma_pattern(vocab: Sequence[tuple[str, float]], unk_id: int) -> str | None:
    """A regular expression for the commas that the penalty alone would leave inside another piece.

    "1,050" is segmented as "▁1," "050" by the model, hence "▁1" "," "050" by the rule; without "▁1," the best would be
    "▁" "1,0" "50". Such numbers are found by trying all: each piece "▁N," with each digit group that a piece with an
    inner comma may reach into. Of the genuine model's, 17 have any such group, nearly all "▁11,", "▁21," and "▁31,".

    Args:
        vocab: pieces with the model's own scores, in id order.
        unk_id: the unknown piece's id.

    Returns:
        The pattern, matching single commas in text where spaces are "▁"; None if no comma needs it.
    """
    numbers = [piece[:-1] for piece, _ in vocab if re.fullmatch(r"▁[0-9]+,", piece)]
    inner = [m.groups() for piece, _ in vocab if (m := re.fullmatch(r"(▁?[0-9]*),([0-9]+)[^0-9]?.*", piece))]
    if not numbers or not inner:
        return None
    # What may follow a group's digits within one piece, such as "%" or ",000": there the choice may differ.
    tails = sorted({m[1] for piece, _ in vocab if (m := re.fullmatch(r"▁?[0-9]+([^0-9].*)", piece)) and m[1] != ","})
    chosen_by_model = models.Unigram(list(vocab), unk_id, False)
    chosen_with_penalty = models.Unigram(penalize(vocab), unk_id, False)

    def takes_comma(number: str, rest: str) -> bool:
        return any(token.value == f"{number}," for token in chosen_by_model.tokenize(f"{number},{rest}"))

    def leaves_comma(number: str, rest: str) -> bool:
        return any(token.value == "," for token in chosen_with_penalty.tokenize(f"{number},{rest}"))

    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for number in numbers:
        for rest in _digit_groups({tail for head, tail in inner if number.endswith(head)}):
            if takes_comma(number, rest) and not leaves_comma(number, rest):
                unless = {tail[0] for tail in tails if not takes_comma(number, rest + tail)}
                groups[number, "".join(sorted(unless))].append(rest)
    alternatives = [
        f"(?<={number},)(?=(?:{'|'.join(rests)})(?![0-9{re.escape(unless)}]))"
        for (number, unless), rests in sorted(groups.items())
    ]
    return f",(?:{'|'.join(alternatives)})" if alternatives else None


def _digit_groups(prefixes: set[str]) -> list[str]:
    """All strings of up to three digits that begin with one of the prefixes."""
    return sorted(
        {
            prefix + "".join(digits)
            for prefix in prefixes
            for more in range(max(0, _GROUP - len(prefix)) + 1)
            for digits in itertools.product("0123456789", repeat=more)
        }
    )


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
    return unigram_backend(penalize(vocab), specials, normalizer, isolated, added)


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
        added: tokens that are never cut, those beyond the vocabulary in id order.
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
    return _with_specials(backend, specials, map(_sentencepiece_token, _with_roles(added, specials)))


def _sentencepiece_token(token: AddedToken) -> AddedToken:
    """As `_lower_cased_first`; one in normalized text takes the spaces around it, which are stripped from pieces."""
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
    """BERT's pipeline: clean text, split at spaces, punctuation and (if asked) CJK characters, longest piece first.

    Args:
        vocab: ids by piece.
        specials: which of the pieces are special.
        lowercase: whether text is lower-cased.
        strip_accents: whether accents are dropped.
        chinese_characters: whether each CJK character is a word.
        added: tokens that are never cut, those beyond the vocabulary in id order.
        slow: what transformers' slow class has beside that: characters are composed, and where it lower-cases, it does
            so before it looks for added tokens.

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
    """A token as the slow tokenizers find it, which lower-case all text but such tokens before: "<PAD>" is "<pad>"."""
    normalized = (token.special or token.normalized) and token.content == token.content.lower()
    flags = {name: getattr(token, name) for name in ("lstrip", "rstrip", "single_word", "special")}
    return AddedToken(token.content, normalized=normalized, **flags)


def bert_normalizer(*, lowercase: bool, strip_accents: bool, chinese_characters: bool) -> normalizers.Normalizer:
    """BERT's normalization: control characters dropped, spaces around CJK characters, lower case without accents."""
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese_characters, strip_accents=strip_accents, lowercase=lowercase
    )


def _with_roles(added: Sequence[AddedToken], specials: Specials) -> list[AddedToken]:
    """Added tokens and the five specials, which are special whatever a list of tokens says of them."""
    plain = {special: AddedToken(special, special=True, normalized=False) for special in specials}
    tokens = [token if token.special else plain.get(token.content, token) for token in added]
    there = {token.content for token in tokens}
    return tokens + [token for special, token in plain.items() if special not in there]


def _with_specials(
    backend: tokenizers.Tokenizer, specials: Specials, tokens: Iterable[AddedToken]
) -> tokenizers.Tokenizer:
    backend.add_tokens(list(tokens))
    backend.post_processor = row_template(backend, specials)
    return backend


def row_template(backend: tokenizers.Tokenizer, specials: Specials) -> processors.TemplateProcessing:
    """Rows of BERT and ALBERT: [CLS] A [SEP], or [CLS] A [SEP] B [SEP] with type 1 from B on."""
    return processors.TemplateProcessing(
        single=f"{specials.cls}:0 $A:0 {specials.sep}:0",
        pair=f"{specials.cls}:0 $A:0 {specials.sep}:0 $B:1 {specials.sep}:1",
        special_tokens=[(special, backend.token_to_id(special)) for special in (specials.cls, specials.sep)],
    )
