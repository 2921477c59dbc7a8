"""The examples at the end of a run: any held-out text, and padded embedding tables."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

import flax_lite as fl
from flax_lite.models.outputs import MaskedLMOutput
from train.jobs.samples import fill_mask_examples

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    return fl.load_tokenizer(folder)


def shown(tokenizer, documents, rows="packed", best=(5, 6, 7), size=9):
    corpus = SimpleNamespace(documents=lambda: iter(documents))
    recipe = SimpleNamespace(max_length=16, rows=rows)
    data = SimpleNamespace(tokenizer=tokenizer, recipe=recipe, held_out_corpus=corpus)

    def model(ids, mask, types, masked_positions):
        logits = jnp.zeros((*masked_positions.shape, size)).at[..., jnp.array(best)].set(jnp.array([9.0, 8.0, 7.0]))
        return MaskedLMOutput(logits=logits)

    return list(fill_mask_examples(model, data))


@pytest.mark.parametrize("size", [len(PIECES), 16, 64])
@pytest.mark.parametrize("rows", ["packed", "pairs"])
def test_padding_rows_of_a_table_are_not_predicted(tokenizer, rows, size):
    _, guesses = shown(tokenizer, [["a b", "c d"]], rows, best=(size - 1, 6, 7), size=size)
    words = [part.split()[0] for part in guesses.split(", ")]
    assert words[:2] == (["d", "b"] if size == len(PIECES) else ["b", "c"])
    assert len(words) == 3


@pytest.mark.parametrize(
    ("documents", "count"),
    [
        ([], 0),
        ([["a"]], 0),  # a single piece has no context
        ([[]], 0),
        ([["", "  "]], 0),
        ([["x y"]], 1),  # only unknown pieces
        ([["", "a b"]], 1),
        ([["a b"], ["c"], ["c d", "a"]], 2),
        ([["a b c"]] * 9, 5),
    ],
)
def test_any_held_out_text_has_examples(tokenizer, documents, count):
    assert len(shown(tokenizer, documents)) == 2 * count


@pytest.mark.parametrize("size", [9, 10, 64])
def test_probabilities_are_those_of_the_pieces(tokenizer, size):
    """Padding rows of the table get no probability."""
    _, guesses = shown(tokenizer, [["a b"]], best=(5, 6, 7), size=size)
    assert guesses.strip() == "a 66%, b 24%, c 9%"
