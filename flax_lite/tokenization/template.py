"""The special tokens around the texts of a row, and where its tokens of type 1 start."""

import dataclasses
from collections.abc import Sequence

import tokenizers

from flax_lite.tokenization.pipeline_checks import library_errors

# Texts of which at least one becomes a token in every pipeline, if only the unknown token.
_PROBES = ("a", "0", "的")


@dataclasses.dataclass(frozen=True)
class Template:
    """The special tokens of a row, as ids.

    Attributes:
        start: the first token of every row.
        end: the tokens after a single text.
        between: the tokens between the texts of a pair.
        pair_end: the tokens after the second text of a pair.
        type_one: how many tokens at the end of `between` have type 1, like the second text; None if no token has.
        pair_problem: why the tokenizer cannot join two texts; empty if it can.
    """

    start: int
    end: tuple[int, ...]
    between: tuple[int, ...] = ()
    pair_end: tuple[int, ...] = ()
    type_one: int | None = None
    pair_problem: str = ""

    @property
    def single_size(self) -> int:
        """The number of special tokens around one text."""
        return 1 + len(self.end)

    @property
    def pair_size(self) -> int:
        """The number of special tokens around two texts.

        Raises:
            ValueError: if the tokenizer cannot join two texts.
        """
        if self.pair_problem:
            raise ValueError(f"the tokenizer cannot join two texts: {self.pair_problem}")
        return 1 + len(self.between) + len(self.pair_end)

    def single(self, ids: Sequence[int]) -> list[int]:
        """Returns the row of one text."""
        return [self.start, *ids, *self.end]

    def pair_prefix(self, ids: Sequence[int]) -> list[int]:
        """Returns the row of a pair up to its second text."""
        return [self.start, *ids, *self.between]

    def pair(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """Returns the row of a pair."""
        return [*self.pair_prefix(first), *second, *self.pair_end]

    def types_from(self, first: int, total: int) -> int:
        """Returns the index of the first token of type 1 in the row of a pair, or `total` if there is none.

        Args:
            first: number of tokens of the first text.
            total: number of tokens of the row.
        """
        return total if self.type_one is None else 1 + first + len(self.between) - self.type_one


def template_of(backend: tokenizers.Tokenizer) -> Template:
    """Returns the template of a pipeline, found by encoding short texts.

    Raises:
        ValueError: if rows of one text do not start with exactly one special token, or have token types other than 0,
            or the library fails: its templates are checked only when a text is encoded.
    """
    with library_errors():
        probe = next((text for text in _PROBES if backend.encode(text, add_special_tokens=False).ids), None)
        if probe is None:
            raise ValueError("it encodes neither a letter nor a digit")
        one, two = backend.encode(probe), backend.encode(probe, probe)
    start, end = _around(one, (0,))
    if len(start) != 1 or any(one.type_ids):
        raise ValueError(
            f"its rows start with {_named(backend, start)} and have the token types {one.type_ids}; expected one "
            "special token first, and type 0"
        )
    try:
        return Template(start[0], end, *_pair_parts(backend, start, two))
    except ValueError as error:
        return Template(start[0], end, pair_problem=str(error))


def _pair_parts(
    backend: tokenizers.Tokenizer, start: tuple[int, ...], encoding: tokenizers.Encoding
) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    pair_start, between, pair_end = _around(encoding, (0, 1))
    if start != pair_start:
        raise ValueError(
            f"its rows of two texts start with {_named(backend, pair_start)}, those of one text with "
            f"{_named(backend, start)}; expected the same token"
        )
    types, second = encoding.type_ids, encoding.sequence_ids.index(1)
    ones = sum(types)
    first = len(types) - ones
    if types != [0] * first + [1] * ones or (ones and not second - len(between) <= first <= second):
        raise ValueError(f"its rows have the token types {types}; expected 0, and 1 from the second text on")
    return between, pair_end, second - first if ones else None


def _around(encoding: tokenizers.Encoding, texts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Returns the ids before, between and after the texts of an encoding."""
    sequence, ids = encoding.sequence_ids, encoding.ids
    bounds = [0]
    for text in texts:
        positions = [position for position, owner in enumerate(sequence) if owner == text]
        bounds += [positions[0], positions[-1] + 1] if positions else []
    if (owners := [owner for owner in sequence if owner is not None]) != sorted(owners):
        raise ValueError("its rows have the second text first")
    bounds.append(len(ids))
    return [tuple(ids[begin:end]) for begin, end in zip(bounds[::2], bounds[1::2], strict=True)]


def _named(backend: tokenizers.Tokenizer, ids: Sequence[int]) -> str:
    return " ".join(str(backend.id_to_token(id_)) for id_ in ids) or "nothing"
