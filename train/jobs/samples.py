"""Example predictions of a language model: words hidden in held-out sentences, and its guesses."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from flax_lite.models.heads import MaskedLM, PreTraining
from flax_lite.models.outputs import PreTrainingOutput
from flax_lite.tokenization import Tokenizer
from flax_lite.training.losses import piece_logits
from train.data.pretraining.dataset import PretrainingData

_GUESSES = 3
_SENTENCES = 3  # of a document, at most
_SEED = 0


@dataclasses.dataclass(frozen=True)
class _Passage:
    """Two segments of token ids and the word to hide, `ids[start:end]` of both segments joined."""

    first: list[int]
    second: list[int]
    start: int
    end: int

    @property
    def ids(self) -> list[int]:
        return self.first + self.second


def fill_mask_examples(model: PreTraining | MaskedLM, data: PretrainingData, count: int = 5) -> Iterator[str]:
    """Hides one word in each of `count` held-out passages and yields the model's guesses.

    A passage is the start of a document. For a model of pairs, its first sentence is one segment and the next
    sentences, as far as they fit, the other; otherwise it is one text. All pieces of the word are hidden, and its first
    piece is predicted, among the tokenizer's pieces: an embedding table may be padded to a round size.

    Yields:
        Two lines for each passage: the text with the hidden word in brackets, and the most likely pieces.
    """
    tokenizer = data.tokenizer
    passages = list(_passages(data, count))
    if not passages:
        return
    batch = _batch(passages, tokenizer, data.recipe.max_length, pairs=data.recipe.rows == "pairs")
    run = jax.jit(lambda ids, mask, types, where: model(ids, mask, types, masked_positions=where))
    output = run(*map(jnp.asarray, batch))
    logits = output.prediction_logits if isinstance(output, PreTrainingOutput) else output.logits
    logits = piece_logits(logits[:, 0], tokenizer.vocab_size)
    probabilities, guesses = jax.lax.top_k(jax.nn.softmax(logits), _GUESSES)
    for passage, row, row_guesses in zip(passages, probabilities.tolist(), guesses.tolist(), strict=True):
        yield f"  {_shown(passage, tokenizer)}"
        pairs = zip(row_guesses, row, strict=True)
        yield "      " + ", ".join(f"{tokenizer.decode([guess])} {value:.0%}" for guess, value in pairs)


def _passages(data: PretrainingData, count: int) -> Iterator[_Passage]:
    tokenizer, room = data.tokenizer, data.recipe.max_length - 3
    rng = np.random.default_rng(_SEED)
    for document in data.held_out_corpus.documents():
        if count == 0:
            return
        sentences = [sentence[:room] for sentence in tokenizer.encode(document[:_SENTENCES]) if sentence]
        first, *others = sentences or [[]]
        second = [piece for sentence in others for piece in sentence][: room - len(first)]
        if len(first) + len(second) > 1:
            yield _Passage(first, second, *_choose_word(first + second, tokenizer, rng))
            count -= 1


def _choose_word(ids: list[int], tokenizer: Tokenizer, rng: np.random.Generator) -> tuple[int, int]:
    """Returns start and end of a random word, one with a letter if there is any."""
    starts = [index for index, piece in enumerate(ids) if index == 0 or tokenizer.starts_word[piece]]
    words = list(zip(starts, [*starts[1:], len(ids)], strict=True))
    lettered = [(start, end) for start, end in words if any(map(str.isalpha, tokenizer.decode(ids[start:end])))]
    candidates = lettered or words
    return candidates[int(rng.integers(len(candidates)))]


def _batch(passages: list[_Passage], tokenizer: Tokenizer, length: int, *, pairs: bool) -> tuple[np.ndarray, ...]:
    """Returns ids, mask and token types [B, T] with the words hidden, and the position [B, 1] of their first pieces."""
    ids = np.full((len(passages), length), tokenizer.pad_id, np.int32)
    types = np.zeros_like(ids)
    positions = np.zeros((len(passages), 1), np.int32)
    for row, passage in enumerate(passages):
        hidden = passage.ids
        hidden[passage.start : passage.end] = [tokenizer.mask_id] * (passage.end - passage.start)
        cut = len(passage.first) if pairs else len(hidden)
        second = [*hidden[cut:], tokenizer.sep_id] if pairs else []
        tokens = [tokenizer.cls_id, *hidden[:cut], tokenizer.sep_id, *second]
        ids[row, : len(tokens)] = tokens
        types[row, cut + 2 : len(tokens)] = 1
        positions[row, 0] = passage.start + 1 + (passage.start >= cut)
    return ids, ids != tokenizer.pad_id, types, positions


def _shown(passage: _Passage, tokenizer: Tokenizer) -> str:
    """Returns the passage as text, with the hidden word in brackets, after any space that decoding puts before it."""
    before = tokenizer.decode(passage.ids[: passage.start])
    through = tokenizer.decode(passage.ids[: passage.end])
    after = tokenizer.decode(passage.ids)[len(through) :]
    word = through[len(before) :]
    space = " " * (len(word) - len(word.lstrip()))
    return f"{before}{space}[{word.strip()}]{after}"
