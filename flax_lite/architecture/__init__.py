"""Architectures: configurations, weight tables, and the registry of families."""

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import Family, config_class, families, load_config, preset, register, weight_table
from flax_lite.architecture.weights import Weight, WeightTable

__all__ = [
    "EncoderConfig",
    "Family",
    "Weight",
    "WeightTable",
    "config_class",
    "families",
    "load_config",
    "preset",
    "register",
    "weight_table",
]
