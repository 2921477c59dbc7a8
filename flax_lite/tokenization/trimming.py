"""A tokenizer with fewer pieces: those that a text uses, of a vocabulary made for many languages.

A text whose ids were all kept is cut as before:

- Unigram: the best path is still there. Where a character has lost its own piece, the library adds an unknown character
  as a candidate, which scores 10 below the vocabulary's lowest score and so below the piece that is gone; no other
  candidate is new. That lowest score must not rise with the pieces that had it, or unknown characters would become
  cheaper than paths that were chosen: then padding, which is found before the model sees the text, takes it over. (A
  text is an exception that spells padding so that only normalization makes it that, such as "<PAD>" where a
  tokenizer.json looks for it in raw text only.)
- WordPiece: each step takes the longest piece that fits, and it fits still. Words that were unknown are an exception:
  what the search took before it gave up is in no count, and where that is gone, a shorter piece may lead to the word's
  end. Such a word then has pieces instead of [UNK].

Text that needs other pieces is cut into smaller ones, or is unknown.

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
    """The same pipeline with some of its pieces; the id kept[i] becomes i.

    A text whose ids were all kept has these ids again, renumbered; the head of this file says why, and of the two
    exceptions.

    Args:
        tokenizer: any; added tokens behind its vocabulary stay behind it, and only those in `kept` remain.
        kept: rising ids; among them the specials, the model's unknown piece and what the post-processor inserts.

    Returns:
        A tokenizer that is saved without a spiece.model, which could not be the old one.

    Raises:
        ValueError: ids that do not rise or that the tokenizer lacks, or a piece missing that cannot be, with its name.
    """
    check_kept(kept, tokenizer.vocab_size, "pieces")
    pipeline = json.loads(tokenizer._backend.to_str())
    slots = list(_id_slots(pipeline["post_processor"]))
    unknown = _unknown_piece(pipeline["model"])
    inserted = (holder[place] for holder, place in slots)
    _refuse_missing(tokenizer, kept, [*tokenizer.special_ids, tokenizer.pieces.index(unknown), *inserted])
    new_ids = {old: new for new, old in enumerate(kept)}
    for holder, place in slots:
        holder[place] = new_ids[holder[place]]
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
        token_types=tokenizer.gives_token_types,
        truncation_side=tokenizer.truncation_side,
        odd_token_to_first=tokenizer.odd_token_to_first,
        tidies=tokenizer.tidies,
    )


def check_kept(kept: Sequence[int], size: int, unit: str) -> None:
    """Refuses ids that do not rise strictly or are not among 0..size-1.

    Args:
        kept: the ids.
        size: how many there are to choose from.
        unit: what they number, for the message.

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
            f"kept lacks {', '.join(f'{names.get(id_)} (id {id_})' for id_ in missing)}: no tokenizer works without "
            "its specials, its unknown piece and what its post-processor inserts"
        )


def _id_slots(processor: Any) -> Iterator[tuple[list[Any], int]]:
    """Every place in a post-processor that holds an id, as a list and an index into it."""
    if not isinstance(processor, Mapping):
        return
    for each in processor.get("processors", ()):
        yield from _id_slots(each)
    for special in processor.get("special_tokens", {}).values():  # TemplateProcessing
        yield from ((special["ids"], place) for place in range(len(special["ids"])))
    for role in ("cls", "sep"):  # BertProcessing and RobertaProcessing: [piece, id]
        if role in processor:
            yield processor[role], 1


def _unknown_piece(model: Mapping[str, Any]) -> str:
    return model["vocab"][model["unk_id"]][0] if "unk_id" in model else model["unk_token"]


def _trim_wordpiece(model: Mapping[str, Any], ids: Mapping[str, int], _: str) -> dict[str, Any]:
    return {"vocab": {piece: ids[piece] for piece in model["vocab"] if piece in ids}}


def _trim_unigram(model: Mapping[str, Any], ids: Mapping[str, int], pad: str) -> dict[str, Any]:
    """Its vocabulary and unk_id; the lowest score stays, if need be as that of a piece that is never looked for."""
    unknown = _unknown_piece(model)
    scores = {piece: score for piece, score in model["vocab"] if piece in ids}
    lowest = min(score for _, score in model["vocab"])
    if min(scores.values()) > lowest:
        scores[pad if pad in scores else unknown] = lowest
    return {"vocab": [[piece, score] for piece, score in scores.items()], "unk_id": ids[unknown]}
