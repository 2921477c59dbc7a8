"""Labels of the tokens, words or entities of a text."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from flax_lite.pipelines.base import Pipeline, Request, single_row, softmax, text_of
from flax_lite.pipelines.entities import STRATEGIES, Piece, Strategy, entities
from flax_lite.pipelines.programs import Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions:
    """What is put together.

    Attributes:
        aggregation_strategy: see `flax_lite.pipelines.entities.entities`.
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


class TokenClassification(Pipeline[TokenClassificationOptions]):
    """Takes strings; gives a list of {"entity", "score", "index", "word", "start", "end"} for each.

    With an aggregation_strategy, {"entity_group", "score", "word", "start", "end"}. `start` and `end` are characters of
    the text, without the space that a SentencePiece token begins with.
    """

    task = "token-classification"
    options_type = TokenClassificationOptions

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"logits": output.logits}

    def _encode(self, inputs: Sequence[Any], options: TokenClassificationOptions, first: int) -> list[Request]:
        texts = [text_of(given, first + number, self.task) for number, given in enumerate(inputs)]
        room = self.max_length - 2
        requests = []
        for text, (ids, spans) in zip(texts, self.tokenizer.encode_with_spans(texts), strict=True):
            self._cut(len(ids), room)
            requests.append(Request(text, [single_row(self.tokenizer, ids[:room])], [spans[:room]]))
        return requests

    def _read(
        self, request: Request, number: int, outputs: Outputs, options: TokenClassificationOptions
    ) -> list[Piece]:
        ids = request.rows[number].tokens[1:-1].tolist()
        scores = softmax(outputs["logits"][1 : len(ids) + 1])
        return [
            self._piece(request.given, place, id_, request.notes[number][place], scores[place])
            for place, id_ in enumerate(ids)
            # A special that stands in the text is no word of it.
            if id_ == self.tokenizer.unk_id or id_ not in self.tokenizer.special_ids
        ]

    def _piece(self, text: str, place: int, id_: int, span: tuple[int, int], scores: np.ndarray) -> Piece:
        start, end = span
        word, is_inner = self.tokenizer.pieces[id_], not self.tokenizer.starts_word[id_]
        if self.tokenizer.kind == "unigram":
            # Its words are what stands between spaces: a piece inside one carries no mark of it.
            is_inner = start > 0 and start < end and not text[start - 1].isspace()
        if id_ == self.tokenizer.unk_id:
            word, is_inner = text[start:end], False
        return Piece(place + 1, word, start, end, is_inner, scores)

    def _decode(self, request: Request, outputs: Sequence[Any], options: TokenClassificationOptions) -> Any:
        labels, strategy = self.model.config.labels, options.aggregation_strategy
        return entities(outputs[0], labels, strategy, options.ignore_labels, self.tokenizer.spell)
