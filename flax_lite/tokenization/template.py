"""Which specials a row has around one text or two, and from where on its tokens are of type 1."""

import dataclasses
from collections.abc import Sequence

import tokenizers

# Something that every pipeline makes a token of, be it the unknown one.
_PROBES = ("a", "0", "的")


@dataclasses.dataclass(frozen=True)
class Template:
    """The specials of a row, as ids.

    Attributes:
        start: the first token, before a text or a pair.
        end: what follows a text that is alone.
        between: what stands between the texts of a pair.
        pair_end: what follows the second text.
        type_one: how many tokens of `between`, from its end, are of type 1 with the second text; None where nothing is.
        pair_problem: why there are no pairs; empty where there are.
    """

    start: int
    end: tuple[int, ...]
    between: tuple[int, ...] = ()
    pair_end: tuple[int, ...] = ()
    type_one: int | None = None
    pair_problem: str = ""

    @property
    def single_size(self) -> int:
        """Specials around one text."""
        return 1 + len(self.end)

    @property
    def pair_size(self) -> int:
        """Specials around two texts; raises ValueError where there are no pairs, as what makes their rows does."""
        if self.pair_problem:
            raise ValueError(f"the tokenizer cannot join two texts: {self.pair_problem}")
        return 1 + len(self.between) + len(self.pair_end)

    def single(self, ids: Sequence[int]) -> list[int]:
        """The row of a text."""
        return [self.start, *ids, *self.end]

    def front(self, ids: Sequence[int]) -> list[int]:
        """The row of a pair as far as its second text, of the first's ids."""
        return [self.start, *ids, *self.between]

    def pair(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """The row of a pair."""
        return [*self.front(first), *second, *self.pair_end]

    def types_from(self, first: int, total: int) -> int:
        """Where type 1 begins in the row of a pair: of `total` tokens, `first` of its first text."""
        return total if self.type_one is None else 1 + first + len(self.between) - self.type_one


def template_of(backend: tokenizers.Tokenizer) -> Template:
    """The template by which a pipeline joins texts, found by what it does with short ones.

    Raises:
        ValueError: for rows of one text that do not begin with one special, or that have token types.
    """
    probe = next((text for text in _PROBES if backend.encode(text, add_special_tokens=False).ids), None)
    if probe is None:
        raise ValueError("it makes no token of a letter or a digit")
    one, two = backend.encode(probe), backend.encode(probe, probe)
    start, end = _around(one, (0,))
    if len(start) != 1 or any(one.type_ids):
        raise ValueError(
            f"its rows begin with {_named(backend, start)} and have the token types {one.type_ids}; expected one "
            "special, and the type 0"
        )
    try:
        return Template(start[0], end, *_of_pairs(backend, start, two))
    except ValueError as error:
        return Template(start[0], end, pair_problem=str(error))


def _of_pairs(
    backend: tokenizers.Tokenizer, start: tuple[int, ...], encoding: tokenizers.Encoding
) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    pair_start, between, pair_end = _around(encoding, (0, 1))
    if start != pair_start:
        raise ValueError(f"its rows begin with {_named(backend, pair_start)}, not with {_named(backend, start)}")
    types, second = encoding.type_ids, encoding.sequence_ids.index(1)
    ones = sum(types)
    first = len(types) - ones
    if types != [0] * first + [1] * ones or (ones and not second - len(between) <= first <= second):
        raise ValueError(f"its rows have the token types {types}; expected 0, and 1 from the second text on")
    return between, pair_end, second - first if ones else None


def _around(encoding: tokenizers.Encoding, texts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The ids before, between and after the texts of an encoding."""
    sequence, ids = encoding.sequence_ids, encoding.ids
    bounds = [0]
    for text in texts:
        places = [place for place, of in enumerate(sequence) if of == text]
        bounds += [places[0], places[-1] + 1] if places else []
    if [of for of in sequence if of is not None] != sorted(of for of in sequence if of is not None):
        raise ValueError("its pairs have the second text first")
    bounds.append(len(ids))
    return [tuple(ids[begin:end]) for begin, end in zip(bounds[::2], bounds[1::2], strict=True)]


def _named(backend: tokenizers.Tokenizer, ids: Sequence[int]) -> str:
    return " ".join(str(backend.id_to_token(id_)) for id_ in ids) or "nothing"
