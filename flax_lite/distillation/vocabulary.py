"""Trimming a model's vocabulary to the pieces that a text uses (see `flax_lite.tokenization.trimming`).

The 119,547 rows of multilingual BERT's vocabulary are 91.8 of the 134.7 million parameters of its DistilBERT.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.tree_util import keystr, tree_map_with_path
from jaxtyping import Int

from flax_lite.architecture.config import EncoderConfig
from flax_lite.tokenization.trimming import check_kept

ConfigT = TypeVar("ConfigT", bound=EncoderConfig)

# Parameters of any model that have a vocabulary axis, and the index of that axis.
VOCABULARY_AXES: Mapping[str, int] = {
    "embeddings/word/embedding": 0,  # of a bare Encoder
    "encoder/embeddings/word/embedding": 0,
    "masked_lm_head/bias": 0,
    "masked_lm_head/decoder/kernel": 1,  # only if not tied to the embedding table
}


def seen_ids(token_counts: Int[np.ndarray, "V"], always: Sequence[int], min_count: int = 1) -> tuple[int, ...]:
    """Returns the ids to keep, in ascending order.

    Args:
        token_counts: number of occurrences of each id in a text.
        always: ids to keep whatever their count: special tokens, and those that other texts may need.
        min_count: minimum number of occurrences of other ids. Above 1, the trimmed tokenizer splits the text itself
            differently.

    Raises:
        ValueError: if `always` has an id without a count.
    """
    size = len(token_counts)
    if outside := [id_ for id_ in always if not 0 <= id_ < size]:
        raise ValueError(f"always has the id {outside[0]}; there are counts of {size} ids, 0 to {size - 1}")
    return tuple(sorted({*np.flatnonzero(token_counts >= min_count).tolist(), *always}))


def trim_params(params: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Returns the parameters with the vocabulary rows of `kept` only; row kept[i] becomes row i.

    For renumbered inputs, hidden states and the logits of kept pieces stay the same; probabilities become conditional
    on the kept pieces. Padding rows of a table, for which the tokenizer has no piece, are dropped.

    Args:
        params: parameters of any model, with or without a masked-LM head (`flax_lite.models.params.get_params`), as JAX
            or NumPy arrays.
        kept: ascending ids.

    Returns:
        A tree of the same structure and dtypes; leaves without a vocabulary axis are the same arrays, not copies.

    Raises:
        ValueError: if ids are not ascending or outside a table, or if there is no word embedding.
    """
    index = np.asarray(kept, np.int32)
    trimmed: set[str] = set()

    def trim(path: tuple[Any, ...], leaf: Any) -> Any:
        name = keystr(path, simple=True, separator="/")
        if name not in VOCABULARY_AXES:
            return leaf
        axis = VOCABULARY_AXES[name]
        check_kept(kept, leaf.shape[axis], f"rows in {name}")
        trimmed.add(name)
        return leaf.take(index, axis=axis)

    result = tree_map_with_path(trim, params)
    if not any(name.endswith("word/embedding") for name in trimmed):
        names = [keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        raise ValueError(f"no encoder/embeddings/word/embedding among {', '.join(names):.300}")
    return result


def trim_config(config: ConfigT, kept: Sequence[int]) -> ConfigT:
    """Returns the configuration of the trimmed model: its vocabulary size, and its ids renumbered.

    Other token ids in config.json that this library does not read (`bos_token_id` etc., in `config.extra`) are
    renumbered too, and become null if their piece is removed.

    Raises:
        ValueError: if ids are not ascending or outside the vocabulary, or if the padding id is not kept.
    """
    check_kept(kept, config.vocab_size, "pieces")
    new_ids = {old: new for new, old in enumerate(kept)}
    if config.pad_token_id is not None and config.pad_token_id not in new_ids:
        raise ValueError(f"kept lacks pad_token_id={config.pad_token_id}; a model needs the row of its padding")
    extra = {
        name: new_ids.get(value) if name.endswith("_token_id") and type(value) is int else value
        for name, value in config.extra.items()
    }
    pad = None if config.pad_token_id is None else new_ids[config.pad_token_id]
    return config.replace(vocab_size=len(kept), pad_token_id=pad, extra=extra)
