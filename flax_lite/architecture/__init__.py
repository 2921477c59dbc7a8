"""What a model is: its configuration, the rows that name its weights elsewhere, and the families by name."""

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
