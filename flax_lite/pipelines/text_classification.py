"""Labels of a text or of a pair of texts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from scipy import special

from flax_lite.pipelines.base import InputError, Pipeline, Request
from flax_lite.pipelines.options import check_count
from flax_lite.pipelines.programs import Row

Function = Literal["softmax", "sigmoid", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextClassificationOptions:
    """How results look.

    Attributes:
        top_k: labels to give of each input, best first, as a list; None gives all. "best" gives the best alone, not in
            a list.
        function_to_apply: from logits to scores: "softmax", "sigmoid" or "none". None takes what the model was trained
            with: "none" for regression, "sigmoid" for labels that may hold together or a single one, else "softmax".
    """

    top_k: int | Literal["best"] | None = "best"
    function_to_apply: Function | None = None

    def __post_init__(self) -> None:
        if self.top_k not in ("best", None):
            check_count("top_k", self.top_k, expected="a number of labels from 1 on, or None for all")
        if self.function_to_apply not in (None, *_FUNCTIONS):
            raise ValueError(
                f"function_to_apply={self.function_to_apply!r}; choose from {', '.join(_FUNCTIONS)}, or leave it out"
            )


_FUNCTIONS = {
    "softmax": special.softmax,
    "sigmoid": special.expit,
    "none": lambda logits: logits,
}


class TextClassification(Pipeline[TextClassificationOptions]):
    """Takes strings, or dictionaries with text and text_pair; gives {"label", "score"}.

    As in Hugging Face's pipeline, one string gives a list with its best label, a dictionary and each entry of a list
    give their best label; with `top_k`, every input gives a list.
    """

    task = "text-classification"
    options_type = TextClassificationOptions
    _takes = 'a string or {"text": ..., "text_pair": ...}'

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See Pipeline."""
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and isinstance(result, dict) else result

    def _checked(self, options: TextClassificationOptions) -> TextClassificationOptions:
        count = self.model.config.num_labels
        if count == 1 and options.function_to_apply == "softmax":
            raise ValueError(
                "function_to_apply='softmax' of a model with one label is 1 for every text: give 'sigmoid' or 'none'"
            )
        if isinstance(options.top_k, int) and options.top_k > count:
            self._say_once(f"top_k={options.top_k}, and the model has {count} labels: results have all of them")
        return options

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"logits": output.logits}

    def _encode(self, inputs: Sequence[Any], options: TextClassificationOptions, first: int) -> list[Request]:
        texts = [self._texts(given, first + number) for number, given in enumerate(inputs)]
        ids = iter(self.tokenizer.encode([text for parts in texts for text in parts]))
        return [
            Request(given, [self._row([next(ids) for _ in parts], number)])
            for number, (given, parts) in enumerate(zip(inputs, texts, strict=True), first)
        ]

    def _texts(self, given: Any, number: int) -> tuple[str, ...]:
        """One or two."""
        if isinstance(given, str):
            return (given,)
        if isinstance(given, Mapping) and {"text"} <= given.keys() <= {"text", "text_pair"}:
            texts = tuple(given[name] for name in ("text", "text_pair") if given.get(name) is not None)
            if texts and all(isinstance(text, str) for text in texts):
                return texts
        raise InputError(number, f"is {given!r:.100}; {self.task} takes {self._takes}")

    def _row(self, ids: Sequence[Sequence[int]], number: int) -> Row:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], or as the tokenizer has them."""
        template, second = self.tokenizer.template, ids[1] if len(ids) == 2 else None
        try:
            room = self.max_length - (template.single_size if second is None else template.pair_size)
        except ValueError as error:
            raise InputError(number, f"has two texts: {error}") from None
        if room < 1:
            raise InputError(number, f"has no room for its text beside the specials in max_length={self.max_length}")
        self._cut(sum(map(len, ids)), room)
        tokens, ones = self.tokenizer.row(ids[0], second, self.max_length)
        return Row(np.array(tokens, np.int32), ones)

    def _decode(self, request: Request, outputs: Sequence[Any], options: TextClassificationOptions) -> Any:
        function = options.function_to_apply or _usual_function(self.model.config)
        scores = _FUNCTIONS[function](outputs[0]["logits"].astype(np.float64))
        labels = self.model.config.labels
        count = 1 if options.top_k == "best" else options.top_k
        # A stable sort: of equal scores the first label comes first.
        best = np.argsort(-scores, kind="stable")[:count]
        results = [{"label": labels[index], "score": float(scores[index])} for index in best]
        return results[0] if options.top_k == "best" else results


def _usual_function(config: Any) -> Function:
    """As transformers' pipeline chooses (text_classification.py, postprocess)."""
    if config.problem_type == "regression":
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"
