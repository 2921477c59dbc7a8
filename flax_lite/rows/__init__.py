"""Rows of token ids: segment pairs, packing, masking, and batches by length.

`flax_lite.rows.token_masks` draws masks for a whole batch in JAX. This package does not import it, because data workers
run without JAX.
"""

from flax_lite.rows.buckets import batches_by_bucket, bucket_lengths
from flax_lite.rows.masking import MaskedRow, mask_ngrams
from flax_lite.rows.packing import PackPlan, plan_packing
from flax_lite.rows.pairs import PairPlan, PairRecipe, plan_pairs
from flax_lite.rows.recipe import PretrainingRecipe, TokenizerInfo

__all__ = [
    "MaskedRow",
    "PackPlan",
    "PairPlan",
    "PairRecipe",
    "PretrainingRecipe",
    "TokenizerInfo",
    "batches_by_bucket",
    "bucket_lengths",
    "mask_ngrams",
    "plan_packing",
    "plan_pairs",
]
