"""Reading and writing checkpoints: strict matching by weight tables, file formats, and sources."""

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.layers import pick_layers
from flax_lite.checkpoints.sources.resolve import Source, open_source

__all__ = ["Checkpoint", "Source", "open_source", "pick_layers"]
