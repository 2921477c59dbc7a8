"""Layers of the encoder as the papers write them; `kernels` holds their tuned parts."""

from flax_lite.layers.attention import attention_visibility
from flax_lite.layers.embeddings import Embeddings
from flax_lite.layers.execution import Execution
from flax_lite.layers.transformer import FeedForward, SelfAttention, TransformerLayer
from flax_lite.layers.unstacked import for_inference, stacked, unstacked

__all__ = [
    "Embeddings",
    "Execution",
    "FeedForward",
    "SelfAttention",
    "TransformerLayer",
    "attention_visibility",
    "for_inference",
    "stacked",
    "unstacked",
]
