"""Labels of tokens put together into labels of words and of entities."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

Strategy = Literal["none", "simple", "first", "average", "max"]
STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A token of a text.

    Attributes:
        index: its place in the row, [CLS] being 0.
        word: the piece.
        start: where in the text it begins.
        end: where it ends.
        is_inner: whether it continues a word.
        scores: probability of each label.
    """

    index: int
    word: str
    start: int
    end: int
    is_inner: bool
    scores: Float[np.ndarray, "labels"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Labelled:
    """One or several tokens under one label."""

    label: str
    score: float
    pieces: tuple[Piece, ...]


def entities(
    pieces: Sequence[Piece],
    labels: Sequence[str],
    strategy: Strategy,
    ignored: Iterable[str],
    spell: Callable[[Sequence[str]], str],
) -> list[dict[str, Any]]:
    """The entities of a text.

    With "none", each token whose label is not ignored. Otherwise neighbours are put together whose labels are the same
    behind "B-" and "I-", unless the later one has "B-": tokens ("simple"), or words, whose label is that of their first
    token ("first"), of their surest token ("max"), or has the highest mean probability ("average"). An entity's score
    is the mean of those of its parts.

    Args:
        pieces: its tokens without specials.
        labels: names by index.
        strategy: one of STRATEGIES.
        ignored: labels, or names of entities, to leave out.
        spell: pieces to text.

    Source: transformers 4.57 pipelines/token_classification.py, for the rules.
    """
    ignored = frozenset(ignored)
    if strategy == "none":
        return [_token(piece, labels) for piece in pieces if labels[int(piece.scores.argmax())] not in ignored]
    parts = [[piece] for piece in pieces] if strategy == "simple" else list(_words(pieces))
    grouped = _groups([_label(part, labels, strategy) for part in parts])
    found = [_entity(group, spell) for group in grouped]
    return [entity for entity in found if entity["entity_group"] not in ignored]


def _token(piece: Piece, labels: Sequence[str]) -> dict[str, Any]:
    best = int(piece.scores.argmax())
    return {
        "entity": labels[best],
        "score": float(piece.scores[best]),
        "index": piece.index,
        "word": piece.word,
        "start": piece.start,
        "end": piece.end,
    }


def _words(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    word: list[Piece] = []
    for piece in pieces:
        if word and not piece.is_inner:
            yield word
            word = []
        word.append(piece)
    if word:
        yield word


def _label(word: Sequence[Piece], labels: Sequence[str], strategy: Strategy) -> _Labelled:
    if strategy == "average":
        scores = np.mean([piece.scores for piece in word], axis=0)
    elif strategy == "max":
        scores = max(word, key=lambda piece: piece.scores.max()).scores
    else:
        scores = word[0].scores
    best = int(scores.argmax())
    return _Labelled(labels[best], float(scores[best]), tuple(word))


def _groups(parts: Sequence[_Labelled]) -> Iterator[list[_Labelled]]:
    group: list[_Labelled] = []
    for part in parts:
        begins, kind = _split(part.label)
        if group and (begins or kind != _split(group[-1].label)[1]):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _split(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity, and of which kind."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _entity(group: Sequence[_Labelled], spell: Callable[[Sequence[str]], str]) -> dict[str, Any]:
    pieces = list(itertools.chain.from_iterable(part.pieces for part in group))
    return {
        "entity_group": group[0].label.split("-", 1)[-1],
        "score": float(np.mean([part.score for part in group])),
        "word": spell([piece.word for piece in pieces]),
        "start": pieces[0].start,
        "end": pieces[-1].end,
    }
