"""ALBERT's "9," rule as scores and one regular expression, so that `tokenizer.json` can hold it.

After segmentation, the reference tokenizes a piece such as "▁2010," again as "2010" and ",". No step of a `tokenizers`
pipeline runs after the model, so the pieces are kept from being chosen, and the comma is cut off beforehand where that
alone would change the rest.

Source: google-research/albert tokenization.py (encode_pieces); transformers 4.57 AlbertTokenizer._tokenize.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence

from tokenizers import models

# Far below any sum of scores that a number's digits can reach (the genuine model's lowest score is -14).
PENALTY = -1e3
_NUMBER_COMMA = re.compile(r"[0-9],$")
_GROUP = 3  # digits between two commas


def penalise(vocab: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
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
    chosen_with_penalty = models.Unigram(penalise(vocab), unk_id, False)

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
