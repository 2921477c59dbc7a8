"""What stands behind a mask."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from scipy import special

from flax_lite.pipelines.base import InputError, Pipeline, Request, single_row, text_of
from flax_lite.pipelines.options import check_count
from flax_lite.pipelines.programs import Outputs
from flax_lite.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class FillMaskOptions:
    """How many results there are.

    Attributes:
        top_k: pieces to give for each mask, best first.
        targets: pieces to choose from, as they stand in the vocabulary or as text that is one piece of it; all if None.
    """

    top_k: int = 5
    targets: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_count("top_k", self.top_k, expected="a number of pieces from 1 on")
        if self.targets is None or isinstance(self.targets, str):
            return
        if not isinstance(self.targets, Sequence) or not all(isinstance(target, str) for target in self.targets):
            raise ValueError(f"targets={self.targets!r:.50}; expected a piece or a list of pieces, as strings")
        if not self.targets:
            raise ValueError("targets is empty; expected pieces, or None for the whole vocabulary")


class FillMask(Pipeline[FillMaskOptions]):
    """Takes strings with a mask (`pipe.tokenizer.specials.mask`); gives {"score", "token", "token_str", "sequence"}.

    As in Hugging Face's pipeline, a string with one mask gives a list, best first; one with several masks a list of
    such lists, each mask filled while the others stay. A text whose mask would be cut off is an error.
    """

    task = "fill-mask"
    options_type = FillMaskOptions

    def _checked(self, options: FillMaskOptions) -> FillMaskOptions:
        size = self.tokenizer.vocab_size
        if options.targets is None:
            if options.top_k > size:
                self._say_once(f"top_k={options.top_k}, and the vocabulary has {size} pieces: results have all of them")
            return options
        targets = (options.targets,) if isinstance(options.targets, str) else options.targets
        ids = [_piece_id(self.tokenizer, target) for target in targets]
        return dataclasses.replace(options, targets=tuple(self.tokenizer.pieces[id_] for id_ in dict.fromkeys(ids)))

    def _compute(self, model: Any, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        output = model(*inputs, masked_positions=batch["positions"][:, None])
        logits = getattr(output, "prediction_logits", None)
        return {"logits": (output.logits if logits is None else logits)[:, 0]}

    def _encode(self, inputs: Sequence[Any], options: FillMaskOptions, first: int) -> list[Request]:
        texts = [text_of(given, first + number, self.task) for number, given in enumerate(inputs)]
        found = zip(texts, self.tokenizer.encode(texts), strict=True)
        return [self._request(text, ids, first + number) for number, (text, ids) in enumerate(found)]

    def _request(self, text: str, ids: list[int], number: int) -> Request:
        """A row for each mask."""
        room = self.max_length - self.tokenizer.template.single_size
        masks = [place for place, id_ in enumerate(ids) if id_ == self.tokenizer.mask_id]
        mask = self.tokenizer.specials.mask
        if not masks:
            raise InputError(number, f"has no {mask}: {text!r:.100}")
        begin = 0 if self.tokenizer.truncation_side == "right" else max(0, len(ids) - room)
        lost = [place for place in masks if not begin <= place < begin + room]
        if lost:
            raise InputError(
                number,
                f"has {len(ids)} tokens, and its {mask} would be cut off: it is token {lost[-1] + 1} of {room} "
                f"that fit into max_length={self.max_length}; give a shorter text",
            )
        self._cut(len(ids), room)
        kept = self.tokenizer.truncate(ids, room)
        return Request(text, [single_row(self.tokenizer, kept, position=place - begin + 1) for place in masks])

    def _read(self, request: Request, number: int, outputs: Outputs, options: FillMaskOptions) -> list[dict[str, Any]]:
        """The best pieces for one mask: of V scores only these stay in memory."""
        probabilities = special.softmax(outputs["logits"].astype(np.float64))[: self.tokenizer.vocab_size]
        ids = np.arange(len(probabilities))
        if options.targets is not None:
            ids = np.array([_piece_id(self.tokenizer, piece) for piece in options.targets])
        best = ids[np.argsort(-probabilities[ids], kind="stable")[: options.top_k]]
        row, is_only = request.rows[number], len(request.rows) == 1
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
                    # The other masks are specials too, and stay visible.
                    "sequence": self.tokenizer.decode(tokens, skip_specials=is_only, clean_up_spaces=True),
                }
            )
        return results

    def _decode(self, request: Request, outputs: Sequence[Any], options: FillMaskOptions) -> Any:
        return outputs[0] if len(outputs) == 1 else list(outputs)


def _piece_id(tokenizer: Tokenizer, target: str) -> int:
    if target in tokenizer.pieces:
        return tokenizer.pieces.index(target)
    (ids,) = tokenizer.encode([target])
    if ids == [tokenizer.unk_id]:
        raise ValueError(
            f"target {target!r} is not in the vocabulary: its score would be that of {tokenizer.specials.unk}"
        )
    if len(ids) != 1:
        pieces = ", ".join(tokenizer.pieces[id_] for id_ in ids)
        raise ValueError(f"target {target!r} is {len(ids)} pieces ({pieces}); only a single one can stand for a mask")
    return ids[0]
