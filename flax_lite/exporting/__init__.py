"""Models as programs that run without flax_lite: StableHLO through jax.export, and ONNX."""
