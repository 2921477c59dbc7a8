"""Trims a tokenizer to the pieces that a text uses, for example those of one language in a multilingual vocabulary.

A text of which all ids are kept is encoded as before:

- Unigram: the best path still exists. If a character lost its own piece, the library adds an unknown token as a
  candidate, with a score 10 below the lowest score of the vocabulary, and so below the removed piece; there are no
  other new candidates. The lowest score must therefore not rise when pieces are removed, or unknown characters would
  become cheaper than chosen paths. If necessary the padding piece takes it over, because padding is matched before the
  model sees the text. The exception is a text that contains padding only after normalization, such as "<PAD>" with a
  tokenizer.json that looks for it in the raw text only.
- WordPiece: each step takes the longest matching piece, which still exists. The exception is words that were unknown:
  the pieces that the search tried before it failed are not counted as used, and without them a shorter piece may lead
  to the end of the word, which is then encoded as pieces instead of [UNK].

Other text is encoded as smaller pieces, or as unknown.

Source: tokenizers 0.22 models/unigram/model.rs (encode_optimized, min_score and K_UNK_PENALTY), models/wordpiece/mod.rs
    (tokenize).
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tokenizers

from flax_lite.tokenization.pipeline_checks import library_errors
from flax_lite.tokenization.tokenizer import Tokenizer


def trim_tokenizer(tokenizer: Tokenizer, kept: Sequence[int]) -> Tokenizer:
    """Returns the same pipeline with a subset of its pieces; the id kept[i] becomes i.

    A text of which all ids are kept has the same ids, renumbered; see the module docstring for the reason and two
    exceptions.

    Args:
        tokenizer: any tokenizer. Added tokens stay after the vocabulary; only those in `kept` remain.
        kept: ascending ids, including the special tokens, the model's unknown piece and the post-processor's tokens.

    Returns:
        The tokenizer. It is saved without a spiece.model, because that of the original has other ids.

    Raises:
        ValueError: if ids do not ascend or are outside the vocabulary, or a required piece is missing, with its name.
    """
    check_kept(kept, tokenizer.vocab_size, "pieces")
    pipeline = json.loads(tokenizer._backend.to_str())
    slots = list(_id_slots(pipeline["post_processor"]))
    unknown = _unknown_piece(pipeline["model"])
    inserted = (container[index] for container, index in slots)
    _refuse_missing(tokenizer, kept, [*tokenizer.special_ids, tokenizer.pieces.index(unknown), *inserted])
    new_ids = {old: new for new, old in enumerate(kept)}
    for container, index in slots:
        container[index] = new_ids[container[index]]
    pipeline["added_tokens"] = [
        token | {"id": new_ids[token["id"]]} for token in pipeline["added_tokens"] if token["id"] in new_ids
    ]
    ids = {tokenizer.pieces[old]: new for old, new in new_ids.items()}
    trim = _trim_unigram if tokenizer.kind == "unigram" else _trim_wordpiece
    pipeline["model"] |= trim(pipeline["model"], ids, tokenizer.specials.pad)
    with library_errors():
        backend = tokenizers.Tokenizer.from_str(json.dumps(pipeline))
    return Tokenizer(
        backend,
        tokenizer.specials,
        options=tokenizer._options,
        token_types=tokenizer.has_token_types,
        truncation_side=tokenizer.truncation_side,
        odd_token_to_first=tokenizer.odd_token_to_first,
        clean_up_spaces=tokenizer.cleans_up_spaces,
    )


def check_kept(kept: Sequence[int], size: int, unit: str) -> None:
    """Checks that ids are strictly ascending and in 0..size-1.

    Args:
        kept: the ids.
        size: the number of ids to choose from.
        unit: the name of what they number, for the message.

    Raises:
        ValueError: with the first id that is wrong.
    """
    for before, id_ in itertools.pairwise(kept):
        if id_ <= before:
            raise ValueError(f"kept has {id_} after {before}; expected rising ids, each once")
    if outside := [id_ for id_ in kept if not 0 <= id_ < size]:
        raise ValueError(f"kept has the id {outside[0]}; there are {size} {unit}, 0 to {size - 1}")


def _refuse_missing(tokenizer: Tokenizer, kept: Sequence[int], needed: Sequence[int]) -> None:
    if missing := sorted(set(needed) - set(kept)):
        names = dict(enumerate(tokenizer.pieces))
        raise ValueError(
            f"kept lacks {', '.join(f'{names.get(id_)} (id {id_})' for id_ in missing)}; it must include the special "
            "tokens, the unknown piece and the tokens that the post-processor inserts"
        )


def _id_slots(processor: Any) -> Iterator[tuple[list[Any], int]]:
    """Yields every position of an id in a post-processor, as a list and an index into it."""
    if not isinstance(processor, Mapping):
        return
    for each in processor.get("processors", ()):
        yield from _id_slots(each)
    for special in processor.get("special_tokens", {}).values():  # TemplateProcessing
        yield from ((special["ids"], index) for index in range(len(special["ids"])))
    for role in ("cls", "sep"):  # BertProcessing and RobertaProcessing: [piece, id]
        if role in processor:
            yield processor[role], 1


def _unknown_piece(model: Mapping[str, Any]) -> str:
    return model["vocab"][model["unk_id"]][0] if "unk_id" in model else model["unk_token"]


def _trim_wordpiece(model: Mapping[str, Any], ids: Mapping[str, int], _: str) -> dict[str, Any]:
    return {"vocab": {piece: ids[piece] for piece in model["vocab"] if piece in ids}}


def _trim_unigram(model: Mapping[str, Any], ids: Mapping[str, int], pad: str) -> dict[str, Any]:
    """Returns the vocabulary and unk_id; keeps the lowest score, if necessary on the padding piece."""
    unknown = _unknown_piece(model)
    scores = {piece: score for piece, score in model["vocab"] if piece in ids}
    lowest = min(score for _, score in model["vocab"])
    if min(scores.values()) > lowest:
        scores[pad if pad in scores else unknown] = lowest
    return {"vocab": [[piece, score] for piece, score in scores.items()], "unk_id": ids[unknown]}
