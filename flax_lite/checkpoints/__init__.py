"""Reading and writing checkpoints: one strict engine, and a reader and a writer for each format and source."""

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.sources.resolve import Source, open_source

__all__ = ["Checkpoint", "Source", "open_source"]
