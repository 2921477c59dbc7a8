"""Models as programs that run without flax_lite: StableHLO through jax.export, and ONNX; their cards, onto the hub.

`model_card.model_card` and `onnx_file.onnx_model` are public too, by their modules, whose names they share.
"""

from flax_lite.exporting.hub_upload import push_to_hub
from flax_lite.exporting.stablehlo import export_program

__all__ = ["export_program", "push_to_hub"]
