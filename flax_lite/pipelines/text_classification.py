"""Text classification: labels of a text or of a pair of texts."""

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
    """Options of the task.

    Attributes:
        top_k: number of labels to return for each input, as a list, best first; None for all labels. "best" (default)
            returns the best label itself, not a list.
        function_to_apply: function from logits to scores: "softmax", "sigmoid" or "none". Default: "none" for
            regression, "sigmoid" for multi-label classification or a single label, otherwise "softmax".
    """

    top_k: int | Literal["best"] | None = "best"
    function_to_apply: Function | None = None

    def __post_init__(self) -> None:
        if self.top_k not in ("best", None):
            check_count("top_k", self.top_k, expected="a whole number of labels, at least 1, or None for all")
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
    """Predicts the label of a text or of a pair of texts.

    Takes a string, or a dictionary with text and optionally text_pair. Returns dictionaries:

    - label: name of the label.
    - score: its score, by default the probability.

    As in Hugging Face's pipeline, the result of a single string is a list with its best label; of a dictionary, and of
    each entry of a list, the best label itself. With `top_k`, the result of every input is a list, best first.
    """

    task = "text-classification"
    options_type = TextClassificationOptions
    _takes = 'a string or {"text": ..., "text_pair": ...}'

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Classifies one input or several; arguments, results and errors are those of `Pipeline`."""
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and isinstance(result, dict) else result

    def _check_options(self, options: TextClassificationOptions) -> TextClassificationOptions:
        count = self.model.config.num_labels
        if count == 1 and options.function_to_apply == "softmax":
            raise ValueError(
                "function_to_apply='softmax' of a model with one label is always 1; give 'sigmoid' or 'none'"
            )
        if isinstance(options.top_k, int) and options.top_k > count:
            self._warn_once(f"top_k={options.top_k}, but the model has {count} labels: results contain all of them")
        return options

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        return {"logits": output.logits}

    def _preprocess(self, inputs: Sequence[Any], options: TextClassificationOptions, first: int) -> list[Request]:
        texts = [self._texts(given, first + number) for number, given in enumerate(inputs)]
        ids = iter(self.tokenizer.encode([text for parts in texts for text in parts]))
        return [
            Request(given, [self._row([next(ids) for _ in parts], number)])
            for number, (given, parts) in enumerate(zip(inputs, texts, strict=True), first)
        ]

    def _texts(self, given: Any, number: int) -> tuple[str, ...]:
        """Returns the one or two texts of an input."""
        if isinstance(given, str):
            return (given,)
        if isinstance(given, Mapping) and {"text"} <= given.keys() <= {"text", "text_pair"}:
            texts = tuple(given[name] for name in ("text", "text_pair") if given.get(name) is not None)
            if texts and all(isinstance(text, str) for text in texts):
                return texts
        raise InputError(number, f"is {given!r:.100}; {self.task} takes {self._takes}")

    def _row(self, ids: Sequence[Sequence[int]], number: int) -> Row:
        """Returns the row [CLS] A [SEP], or [CLS] A [SEP] B [SEP], or as the tokenizer's template says."""
        template, second = self.tokenizer.template, ids[1] if len(ids) == 2 else None
        try:
            room = self.max_length - (template.single_size if second is None else template.pair_size)
        except ValueError as error:
            raise InputError(number, f"has two texts: {error}") from None
        if room < 1:
            raise InputError(
                number, f"has no room for its text next to the special tokens in max_length={self.max_length}"
            )
        self._warn_truncated(sum(map(len, ids)), room)
        tokens, ones = self.tokenizer.row(ids[0], second, self.max_length)
        return Row(np.array(tokens, np.int32), ones)

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: TextClassificationOptions) -> Any:
        function = options.function_to_apply or _default_function(self.model.config)
        scores = _FUNCTIONS[function](outputs[0]["logits"].astype(np.float64))
        labels = self.model.config.labels
        count = 1 if options.top_k == "best" else options.top_k
        # In a stable sort ties go to the first label.
        best = np.argsort(-scores, kind="stable")[:count]
        results = [{"label": labels[index], "score": float(scores[index])} for index in best]
        return results[0] if options.top_k == "best" else results


def _default_function(config: Any) -> Function:
    """Returns the function that transformers' pipeline applies by default (text_classification.py, postprocess)."""
    if config.problem_type == "regression":
        return "none"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"
