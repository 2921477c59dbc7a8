"""Exports models as programs that run without flax_lite (StableHLO by jax.export, and ONNX), and uploads to the hub.

`model_card.model_card` and `onnx_file.onnx_model` are public too; import them from their modules.
"""

from flax_lite.exporting.hub_upload import push_to_hub
from flax_lite.exporting.stablehlo import export_program

__all__ = ["export_program", "push_to_hub"]
