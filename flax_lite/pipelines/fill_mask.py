"""Fill-mask: predicts the tokens at mask tokens."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy import special

from flax_lite.pipelines.base import InputError, Pipeline, Request, check_text, single_row
from flax_lite.pipelines.options import check_count
from flax_lite.pipelines.programs import Outputs
from flax_lite.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class FillMaskOptions:
    """Options of the task.

    Attributes:
        top_k: number of tokens to return for each mask, best first.
        targets: tokens to choose from, as pieces of the vocabulary or as text that is a single token; None for all.
    """

    top_k: int = 5
    targets: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_count("top_k", self.top_k, expected="a whole number of tokens, at least 1")
        if self.targets is None or isinstance(self.targets, str):
            return
        if not isinstance(self.targets, Sequence) or not all(isinstance(target, str) for target in self.targets):
            raise ValueError(f"targets={self.targets!r:.50}; expected a token or a list of tokens, as strings")
        if not self.targets:
            raise ValueError("targets is empty; expected tokens, or None for the whole vocabulary")


class FillMask(Pipeline[FillMaskOptions]):
    """Predicts the tokens at the mask tokens (`pipe.tokenizer.specials.mask`) of a string.

    The result of a string with one mask is a list of dictionaries, best first, as in Hugging Face's pipeline:

    - score: probability of the token at the mask.
    - token: id of the token.
    - token_str: text of the token.
    - sequence: text with the token in place of the mask.

    The result of a string with several masks is a list of such lists, one for each mask; the other masks stay. A text
    whose mask would be truncated is an error.
    """

    task = "fill-mask"
    options_type = FillMaskOptions

    def _check_options(self, options: FillMaskOptions) -> FillMaskOptions:
        size = self.tokenizer.vocab_size
        if options.targets is None:
            if options.top_k > size:
                self._warn_once(
                    f"top_k={options.top_k}, but the vocabulary has {size} pieces: results contain all of them"
                )
            return options
        targets = (options.targets,) if isinstance(options.targets, str) else options.targets
        ids = [_target_id(self.tokenizer, target) for target in targets]
        return dataclasses.replace(options, targets=tuple(self.tokenizer.pieces[id_] for id_ in dict.fromkeys(ids)))

    def _forward(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        output = model(*inputs, masked_positions=batch["positions"][:, None])
        logits = getattr(output, "prediction_logits", None)
        return {"logits": (output.logits if logits is None else logits)[:, 0]}

    def _preprocess(self, inputs: Sequence[Any], options: FillMaskOptions, first: int) -> list[Request]:
        texts = [check_text(given, first + number, self.task) for number, given in enumerate(inputs)]
        found = zip(texts, self.tokenizer.encode(texts), strict=True)
        return [self._request(text, ids, first + number) for number, (text, ids) in enumerate(found)]

    def _request(self, text: str, ids: list[int], number: int) -> Request:
        """Returns a request with one row for each mask."""
        room = self.max_length - self.tokenizer.template.single_size
        masks = [position for position, id_ in enumerate(ids) if id_ == self.tokenizer.mask_id]
        mask = self.tokenizer.specials.mask
        if not masks:
            raise InputError(number, f"has no {mask}: {text!r:.100}")
        start = 0 if self.tokenizer.truncation_side == "right" else max(0, len(ids) - room)
        truncated = [position for position in masks if not start <= position < start + room]
        if truncated:
            raise InputError(
                number,
                f"has {len(ids)} tokens, and its {mask} would be truncated: it is token {truncated[-1] + 1}, and "
                f"{room} fit into max_length={self.max_length}; give a shorter text",
            )
        self._warn_truncated(len(ids), room)
        kept = self.tokenizer.truncate(ids, room)
        return Request(text, [single_row(self.tokenizer, kept, position=position - start + 1) for position in masks])

    def _reduce_row(
        self, request: Request, number: int, outputs: Outputs, options: FillMaskOptions
    ) -> list[dict[str, Any]]:
        """Returns the best tokens for one mask, so that not all V scores stay in memory."""
        probabilities = special.softmax(outputs["logits"].astype(np.float64))[: self.tokenizer.vocab_size]
        ids = np.arange(len(probabilities))
        if options.targets is not None:
            ids = np.array([_target_id(self.tokenizer, target) for target in options.targets])
        best = ids[np.argsort(-probabilities[ids], kind="stable")[: options.top_k]]
        row, has_one_mask = request.rows[number], len(request.rows) == 1
        results = []
        for id_ in best.tolist():
            tokens = row.tokens.copy()
            tokens[row.position] = id_
            tokens = tokens[tokens != self.tokenizer.pad_id]
            results.append(
                {
                    "score": float(probabilities[id_]),
                    "token": id_,
                    "token_str": self.tokenizer.decode([id_], skip_specials=False, clean_up_spaces=True),
                    # With other masks, special tokens are kept, because masks are special tokens too.
                    "sequence": self.tokenizer.decode(tokens, skip_specials=has_one_mask, clean_up_spaces=True),
                }
            )
        return results

    def _postprocess(self, request: Request, outputs: Sequence[Any], options: FillMaskOptions) -> Any:
        return outputs[0] if len(outputs) == 1 else list(outputs)


def _target_id(tokenizer: Tokenizer, target: str) -> int:
    if target in tokenizer.pieces:
        return tokenizer.pieces.index(target)
    (ids,) = tokenizer.encode([target])
    if ids == [tokenizer.unk_id]:
        raise ValueError(
            f"target {target!r} is not in the vocabulary: its score would be that of {tokenizer.specials.unk}; give "
            "tokens of the vocabulary"
        )
    if len(ids) != 1:
        pieces = ", ".join(tokenizer.pieces[id_] for id_ in ids)
        raise ValueError(f"target {target!r} is {len(ids)} tokens ({pieces}); a mask stands for exactly one")
    return ids[0]
