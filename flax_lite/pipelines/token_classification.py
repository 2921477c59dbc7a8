"""Token classification: labels of tokens, and their aggregation to words and entities."""

import bisect
import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Float
from scipy import special

from flax_lite.pipelines.base import Pipeline, Request, check_text, single_row
from flax_lite.pipelines.programs import Outputs

Strategy = Literal["none", "simple", "first", "average", "max"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token of a text.

    Attributes:
        index: position in the row; that of [CLS] is 0.
        word: the piece of the vocabulary, or the text of an unknown token.
        start: index of its first character in the text.
        end: index after its last character.
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
    """One or more consecutive tokens with one label."""

    label: str
    score: float
    tokens: tuple[Token, ...]


def entities(
    tokens: Sequence[Token],
    labels: Sequence[str],
    strategy: Strategy,
    ignored: Iterable[str],
    spell: Callable[[Sequence[str]], str],
) -> list[dict[str, Any]]:
    """Returns the entities of a text.

    - "none": every token whose label is not ignored.
    - "simple": consecutive tokens whose labels are equal without "B-" and "I-" are one entity; "B-" starts a new one.
    - "first", "max", "average": likewise for words. The label of a word is that of its first token, of its token with
      the highest probability, or the one with the highest mean probability.

    The score of an entity is the mean over its tokens or words. A word without a character, such as one truncated after
    its "▁", is not an entity; a token is, as in transformers.

    Args:
        tokens: tokens of the text without special tokens.
        labels: names of the labels, by index.
        strategy: one of STRATEGIES.
        ignored: labels or entity names to leave out.
        spell: function from pieces to text.

    Returns:
        Dictionaries with the keys of `TokenClassification`.

    Source: transformers 4.57 pipelines/token_classification.py.
    """
    ignored = frozenset(ignored)
    if strategy == "none":
        return [_token_result(token, labels) for token in tokens if labels[int(token.scores.argmax())] not in ignored]
    parts = [[token] for token in tokens] if strategy == "simple" else _words(tokens)
    groups = _groups([_label(part, labels, strategy) for part in parts])
    found = [_entity_result(group, spell) for group in groups]
    return [entity for entity in found if entity["entity_group"] not in ignored]


def _token_result(token: Token, labels: Sequence[str]) -> dict[str, Any]:
    best = int(token.scores.argmax())
    return {
        "entity": labels[best],
        "score": float(token.scores[best]),
        "index": token.index,
        "word": token.word,
        "start": token.start,
        "end": token.end,
    }


def _words(tokens: Sequence[Token]) -> list[list[Token]]:
    """Returns the tokens of each word that has a character."""
    words: list[list[Token]] = []
    for token in tokens:
        if token.is_inner and words:
            words[-1].append(token)
        else:
            words.append([token])
    return [word for word in words if any(token.start < token.end for token in word)]


def _label(word: Sequence[Token], labels: Sequence[str], strategy: Strategy) -> _Labeled:
    if strategy == "average":
        scores = np.mean([token.scores for token in word], axis=0)
    elif strategy == "max":
        scores = max(word, key=lambda token: token.scores.max()).scores
    else:
        scores = word[0].scores
    best = int(scores.argmax())
    return _Labeled(labels[best], float(scores[best]), tuple(word))


def _groups(parts: Sequence[_Labeled]) -> Iterator[list[_Labeled]]:
    group: list[_Labeled] = []
    for part in parts:
        starts_entity, kind = _split_label(part.label)
        if group and (starts_entity or kind != _split_label(group[-1].label)[1]):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _split_label(label: str) -> tuple[bool, str]:
    """Returns whether a label starts an entity, and its name without "B-" or "I-"."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _entity_result(group: Sequence[_Labeled], spell: Callable[[Sequence[str]], str]) -> dict[str, Any]:
    tokens = list(itertools.chain.from_iterable(part.tokens for part in group))
    first = next((token for token in tokens if token.start < token.end), tokens[0])
    return {
        "entity_group": group[0].label.split("-", 1)[-1],
        "score": float(np.mean([part.score for part in group])),
        "word": spell([token.word for token in tokens]),
        "start": first.start,
        "end": tokens[-1].end,
    }


def _word_numbers(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Returns for each token the number of its word, words being separated by white space.

    The span of a single "▁" is at the start of its word.
    """
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    return [bisect.bisect_right(starts, start) for start, _ in spans]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions:
    """Options of the task.

    Attributes:
        aggregation_strategy: how tokens are aggregated, see `flax_lite.pipelines.token_classification.entities`.
        ignore_labels: labels or entity names to leave out of the results.
    """

    aggregation_strategy: Strategy = "none"
    ignore_labels: Collection[str] = ("O",)

    def __post_init__(self) -> None:
        if self.aggregation_strategy not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy={self.aggregation_strategy!r} is not known; choose from {', '.join(STRATEGIES)}"
            )
        if isinstance(self.ignore_labels, str):
            raise ValueError(f"ignore_labels={self.ignore_labels!r} is one string; expected a collection of labels")
        if not isinstance(self.ignore_labels, Collection):
            raise ValueError(f"ignore_labels={self.ignore_labels!r:.50}; expected a collection of labels, () for none")


class TokenClassification(Pipeline[TokenClassificationOptions]):
    """Predicts the labels of the tokens of a string, or its entities.

    Returns a list of dictionaries for each string:

    - entity: label of the token; with an aggregation_strategy entity_group, the name of the entity.
    - score: its probability.
    - index: position of the token in the row; only without an aggregation_strategy.
    - word: the token or entity as text.
    - start, end: character span in the text, without the space that a SentencePiece token starts with.
    """

    task = "token-classification"
    options_type = TokenClassificationOptions
    _is_by_token = True

    def _check_options(self, options: TokenClassificationOptions) -> TokenClassificationOptions:
        labels = self.model.config.labels
        known = {*labels, *(_split_label(label)[1] for label in labels), "O"}  # "O" is the default of ignore_labels
        if unknown := [str(label) for label in options.ignore_labels if label not in known]:
            self._warn_once(f"ignore_labels has {', '.join(unknown)}, but the model has only {', '.join(labels)}")
        return options

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"logits": output.logits}

    def _preprocess(self, inputs: Sequence[Any], options: TokenClassificationOptions, first: int) -> list[Request]:
        texts = [check_text(given, first + number, self.task) for number, given in enumerate(inputs)]
        room = self.max_length - self.tokenizer.template.single_size
        requests = []
        for text, (ids, spans) in zip(texts, self.tokenizer.encode_with_spans(texts), strict=True):
            self._warn_truncated(len(ids), room)
            row = single_row(self.tokenizer, self.tokenizer.truncate(ids, room))
            notes = list(zip(spans, _word_numbers(text, spans), strict=True))
            requests.append(Request(text, [row], [self.tokenizer.truncate(notes, room)]))
        return requests

    def _reduce_row(
        self, request: Request, number: int, outputs: Outputs, options: TokenClassificationOptions
    ) -> list[Token]:
        ids = request.rows[number].tokens[1 : len(request.notes[number]) + 1].tolist()
        scores = special.softmax(outputs["logits"][1 : len(ids) + 1].astype(np.float64), axis=-1)
        tokens, previous_word = [], None
        for index, (id_, ((start, end), word)) in enumerate(zip(ids, request.notes[number], strict=True)):
            is_unknown = id_ == self.tokenizer.unk_id
            if id_ in self.tokenizer.special_ids and not is_unknown:
                continue  # a special token in the text is not a word
            piece = request.given[start:end] if is_unknown else self.tokenizer.pieces[id_]
            # Unigram words are separated by white space, as in training; a piece does not show whether it is inside
            # one.
            is_inner = word == previous_word
            if self.tokenizer.kind == "wordpiece":
                is_inner = not self.tokenizer.starts_word[id_]
            tokens.append(Token(index + 1, piece, start, end, is_inner, scores[index]))
            previous_word = word
        return tokens

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: TokenClassificationOptions) -> Any:
        labels, strategy = self.model.config.labels, options.aggregation_strategy
        return entities(outputs[0], labels, strategy, options.ignore_labels, self.tokenizer.spell)
