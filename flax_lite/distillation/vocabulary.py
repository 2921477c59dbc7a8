"""A model with fewer vocabulary rows: those of the pieces that a text uses (`flax_lite.tokenization.trimming`).

The 119,547 rows of multilingual BERT are 91.8 of the 134.7 million parameters of the DistilBERT that has them all.
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

# Where the parameters of any model have a vocabulary axis, and which of theirs it is.
VOCABULARY_AXES: Mapping[str, int] = {
    "embeddings/word/embedding": 0,  # of an Encoder by itself
    "encoder/embeddings/word/embedding": 0,
    "masked_lm_head/bias": 0,
    "masked_lm_head/decoder/kernel": 1,  # only where it is not the table's transpose
}


def seen_ids(token_counts: Int[np.ndarray, "V"], always: Sequence[int], min_count: int = 1) -> tuple[int, ...]:
    """The ids worth keeping, rising.

    Args:
        token_counts: how often each id occurs in a text.
        always: ids that stay however rare: the specials, and what other texts may need.
        min_count: the fewest occurrences of the others. Above 1, the text itself is cut otherwise afterwards.

    Raises:
        ValueError: an id in `always` without a count.
    """
    size = len(token_counts)
    if outside := [id_ for id_ in always if not 0 <= id_ < size]:
        raise ValueError(f"always has the id {outside[0]}; there are counts of {size} ids, 0 to {size - 1}")
    return tuple(sorted({*np.flatnonzero(token_counts >= min_count).tolist(), *always}))


def trim_params(params: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The parameters of a model with the vocabulary rows of `kept` only; row kept[i] becomes row i.

    Hidden states at renumbered inputs are the same, and so are the logits of the pieces kept; probabilities are those
    of before, given that the piece is one of these. A table with more rows than its tokenizer has pieces loses the
    rest, since no id names them.

    Args:
        params: of any model, with or without a masked-LM head (`flax_lite.models.params.get_params`); JAX or NumPy
            arrays.
        kept: rising ids.

    Returns:
        A tree of the same structure and dtypes; leaves without a vocabulary axis are the same arrays, not copies.

    Raises:
        ValueError: ids that do not rise or that a table lacks, or parameters without a word embedding.
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
    """The configuration of the trimmed model: its size, and its ids renumbered.

    Ids of other pieces that config.json holds without a meaning here (`bos_token_id` and the like, in `config.extra`)
    are renumbered too, and null where their piece is gone.

    Raises:
        ValueError: ids that do not rise or that the vocabulary lacks, or no padding among them.
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
