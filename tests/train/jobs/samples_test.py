"""Guesses of hidden words are pieces of the tokenizer, whatever rows a table has beside them."""

import types

import jax.numpy as jnp
import pytest

from flax_lite.models.outputs import MaskedLMOutput
from flax_lite.tokenization import load_tokenizer
from train.jobs.samples import fill_mask_examples

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three"]


@pytest.mark.parametrize("rows", [8, 9, 64])
def test_padding_rows_are_never_guessed(rows, tmp_path):
    """Their logits are the highest; the shares shown are those of the pieces."""
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    data = types.SimpleNamespace(
        tokenizer=load_tokenizer(tmp_path / "vocab.txt"),
        recipe=types.SimpleNamespace(max_length=8, rows="packed"),
        held_out_corpus=types.SimpleNamespace(documents=lambda: iter([["one two three"], ["two one"]])),
    )
    logits = jnp.where(jnp.arange(rows) < 8, jnp.arange(rows, dtype=jnp.float32), 99.0)

    def model(ids, mask, token_types, masked_positions):
        return MaskedLMOutput(logits=jnp.broadcast_to(logits, (len(ids), 1, rows)))

    lines = list(fill_mask_examples(model, data))
    assert lines[1::2] == ["      three 63%, two 23%, one 9%"] * 2
