"""The parts of an encoder, and how they are executed."""

from flax_lite.layers.attention import attention_visibility
from flax_lite.layers.embeddings import Embeddings
from flax_lite.layers.execution import Execution
from flax_lite.layers.stack import for_inference, stacked, unstacked
from flax_lite.layers.transformer import FeedForward, SelfAttention, TransformerLayer

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
