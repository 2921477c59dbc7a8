"""Tuned implementations of the formulas in `flax_lite.layers`.

Each computes the same function as the formula it replaces and says in one line what it gains; the measurements are in
docs/performance.md.
"""

from flax_lite.layers.kernels.activation_slopes import gelu_new_slope, gelu_slope, with_slope
from flax_lite.layers.kernels.cudnn import cudnn_attention, cudnn_attention_fits
from flax_lite.layers.kernels.layer_loop import map_layers
from flax_lite.layers.kernels.layer_norm import normalize
from flax_lite.layers.kernels.layout import heads_first, heads_last, row_major
from flax_lite.layers.kernels.lookup import select_lookup
from flax_lite.layers.kernels.precision import einsum_f32, upcast
from flax_lite.layers.kernels.projections import project_fused
from flax_lite.layers.kernels.threefry import bernoulli

__all__ = [
    "bernoulli",
    "cudnn_attention",
    "cudnn_attention_fits",
    "einsum_f32",
    "gelu_new_slope",
    "gelu_slope",
    "heads_first",
    "heads_last",
    "map_layers",
    "normalize",
    "project_fused",
    "row_major",
    "select_lookup",
    "upcast",
    "with_slope",
]
