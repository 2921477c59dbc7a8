"""What a person wants to see of a language model: words hidden in held-out sentences, and its guesses."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from flax_lite.heads import PreTraining
from flax_lite.tokenization import Tokenizer
from train.data.pretraining import PretrainingData

_GUESSES = 3
_SEED = 0


def fill_mask_examples(model: PreTraining, data: PretrainingData, count: int = 5) -> Iterator[str]:
    """Hides one word in each of `count` held-out passages and shows the model's guesses.

    Passages come from the start of different documents; a word is hidden whole, and of a word of several pieces the
    first is guessed.

    Yields:
        Two lines for each passage: the text with its hidden word in brackets, and the likeliest pieces with their
        probabilities.
    """
    tokenizer, length = data.tokenizer, data.recipe.max_length
    passages = _passages(data, count)
    rng = np.random.default_rng(_SEED)
    ids = np.full((len(passages), length), tokenizer.pad_id, np.int32)
    positions = np.zeros((len(passages), 1), np.int32)
    spans = []
    for row, passage in enumerate(passages):
        ids[row, : len(passage) + 2] = [tokenizer.cls_id, *passage, tokenizer.sep_id]
        start, end = _choose_word(passage, tokenizer, rng)
        spans.append((start, end))
        positions[row, 0] = start + 1
        ids[row, start + 1 : end + 1] = tokenizer.mask_id
    logits = jax.jit(lambda *inputs: model(*inputs[:2], masked_positions=inputs[2]).prediction_logits[:, 0])
    mask = ids != tokenizer.pad_id
    shares, guesses = jax.lax.top_k(jax.nn.softmax(logits(*map(jnp.asarray, (ids, mask, positions)))), _GUESSES)
    for passage, (start, end), row_shares, row_guesses in zip(passages, spans, shares, guesses, strict=True):
        yield f"  {_shown(passage, start, end, tokenizer)}"
        named = zip(row_guesses.tolist(), row_shares.tolist(), strict=True)
        yield "      " + ", ".join(f"{tokenizer.decode([guess])} {share:.0%}" for guess, share in named)


def _passages(data: PretrainingData, count: int) -> list[list[int]]:
    """The first sentences of some documents, as many as fit a row; three at most, so that a person reads them."""
    passages = []
    for document in data.held_out_corpus.documents():
        passage: list[int] = []
        for sentence in data.tokenizer.encode(document[:3]):
            if len(passage) + len(sentence) > data.recipe.max_length - 2:
                break
            passage += sentence
        if len(passage) > 1:
            passages.append(passage)
        if len(passages) == count:
            break
    return passages


def _choose_word(passage: Sequence[int], tokenizer: Tokenizer, rng: np.random.Generator) -> tuple[int, int]:
    """Where a random word of letters starts and ends, in the passage's second half where there is one to be read from."""
    starts = [index for index, piece in enumerate(passage) if index == 0 or tokenizer.starts_word[piece]]
    ends = [*starts[1:], len(passage)]
    words = [
        (start, end)
        for start, end in zip(starts, ends, strict=True)
        if any(letter.isalpha() for letter in tokenizer.decode(list(passage[start:end])))
    ] or list(zip(starts, ends, strict=True))
    late = [word for word in words if word[0] >= len(passage) // 2] or words
    return late[int(rng.integers(len(late)))]


def _shown(passage: Sequence[int], start: int, end: int, tokenizer: Tokenizer) -> str:
    parts = (passage[:start], passage[start:end], passage[end:])
    before, hidden, after = (tokenizer.decode(list(part)) for part in parts)
    return f"{before} [{hidden}] {after}".strip()
