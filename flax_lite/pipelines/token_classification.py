"""Labels of the tokens of a text, and labels of tokens put together into those of words and entities."""

import bisect
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float
from scipy import special

from flax_lite.pipelines.base import Pipeline, Request, single_row, text_of
from flax_lite.pipelines.programs import Outputs

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
class _Labeled:
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

    With "none", each token whose label is not ignored. Otherwise neighbors are put together whose labels are the same
    behind "B-" and "I-", unless the later one has "B-": tokens ("simple"), or words, whose label is that of their first
    token ("first"), of their surest token ("max"), or has the highest mean probability ("average"). An entity's score
    is the mean of those of its parts. A word of which no character was read, as one that is cut behind its "▁", is no
    entity; tokens are, as in transformers.

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
    """Those with a character."""
    words: list[list[Piece]] = []
    for piece in pieces:
        if piece.is_inner and words:
            words[-1].append(piece)
        else:
            words.append([piece])
    return (word for word in words if any(piece.start < piece.end for piece in word))


def _label(word: Sequence[Piece], labels: Sequence[str], strategy: Strategy) -> _Labeled:
    if strategy == "average":
        scores = np.mean([piece.scores for piece in word], axis=0)
    elif strategy == "max":
        scores = max(word, key=lambda piece: piece.scores.max()).scores
    else:
        scores = word[0].scores
    best = int(scores.argmax())
    return _Labeled(labels[best], float(scores[best]), tuple(word))


def _groups(parts: Sequence[_Labeled]) -> Iterator[list[_Labeled]]:
    group: list[_Labeled] = []
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


def _entity(group: Sequence[_Labeled], spell: Callable[[Sequence[str]], str]) -> dict[str, Any]:
    pieces = list(itertools.chain.from_iterable(part.pieces for part in group))
    first = next((piece for piece in pieces if piece.start < piece.end), pieces[0])
    return {
        "entity_group": group[0].label.split("-", 1)[-1],
        "score": float(np.mean([part.score for part in group])),
        "word": spell([piece.word for piece in pieces]),
        "start": first.start,
        "end": pieces[-1].end,
    }


def _words_of(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """The number of the word between spaces that each piece is of; a mark alone stands where its word begins."""
    begins = [match.start() for match in re.finditer(r"\S+", text)]
    return [bisect.bisect_right(begins, start) for start, _ in spans]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions:
    """What is put together.

    Attributes:
        aggregation_strategy: see `flax_lite.pipelines.token_classification.entities`.
        ignore_labels: labels that are no result.
    """

    aggregation_strategy: Strategy = "none"
    ignore_labels: Collection[str] = ("O",)

    def __post_init__(self) -> None:
        if self.aggregation_strategy not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy={self.aggregation_strategy!r} is not known; choose from {', '.join(STRATEGIES)}"
            )
        if isinstance(self.ignore_labels, str):
            raise ValueError(f"ignore_labels={self.ignore_labels!r} is one string, expected a collection of labels")
        if not isinstance(self.ignore_labels, Collection):
            raise ValueError(f"ignore_labels={self.ignore_labels!r:.50}, expected a collection of labels, () for none")


class TokenClassification(Pipeline[TokenClassificationOptions]):
    """Takes strings; gives a list of {"entity", "score", "index", "word", "start", "end"} for each.

    With an aggregation_strategy, {"entity_group", "score", "word", "start", "end"}. `start` and `end` are characters of
    the text, without the space that a SentencePiece token begins with.
    """

    task = "token-classification"
    options_type = TokenClassificationOptions
    _is_by_token = True

    def _checked(self, options: TokenClassificationOptions) -> TokenClassificationOptions:
        labels = self.model.config.labels
        known = {*labels, *(_split(label)[1] for label in labels), "O"}  # "O" is ignored where there is none, too
        if unknown := [str(label) for label in options.ignore_labels if label not in known]:
            self._say_once(f"ignore_labels has {', '.join(unknown)}, and the model has {', '.join(labels)}")
        return options

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"logits": output.logits}

    def _encode(self, inputs: Sequence[Any], options: TokenClassificationOptions, first: int) -> list[Request]:
        texts = [text_of(given, first + number, self.task) for number, given in enumerate(inputs)]
        room = self.max_length - self.tokenizer.template.single_size
        requests = []
        for text, (ids, spans) in zip(texts, self.tokenizer.encode_with_spans(texts), strict=True):
            self._cut(len(ids), room)
            row = single_row(self.tokenizer, self.tokenizer.truncate(ids, room))
            notes = list(zip(spans, _words_of(text, spans), strict=True))
            requests.append(Request(text, [row], [self.tokenizer.truncate(notes, room)]))
        return requests

    def _read(
        self, request: Request, number: int, outputs: Outputs, options: TokenClassificationOptions
    ) -> list[Piece]:
        ids = request.rows[number].tokens[1 : len(request.notes[number]) + 1].tolist()
        scores = special.softmax(outputs["logits"][1 : len(ids) + 1].astype(np.float64), axis=-1)
        pieces, before = [], None
        for place, (id_, ((start, end), word)) in enumerate(zip(ids, request.notes[number], strict=True)):
            is_unknown = id_ == self.tokenizer.unk_id
            if id_ in self.tokenizer.special_ids and not is_unknown:
                continue  # a special that stands in the text is no word of it
            spelled = request.given[start:end] if is_unknown else self.tokenizer.pieces[id_]
            # Unigram words are what stands between spaces, as in training; a piece inside one carries no mark of it.
            is_inner = word == before if self.tokenizer.kind == "unigram" else not self.tokenizer.starts_word[id_]
            pieces.append(Piece(place + 1, spelled, start, end, is_inner, scores[place]))
            before = word
        return pieces

    def _decode(self, request: Request, outputs: Sequence[Any], options: TokenClassificationOptions) -> Any:
        labels, strategy = self.model.config.labels, options.aggregation_strategy
        return entities(outputs[0], labels, strategy, options.ignore_labels, self.tokenizer.spell)
