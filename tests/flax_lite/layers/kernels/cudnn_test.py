"""cuDNN's attention: which sizes it supports, and its error on other devices."""

import jax
import jax.numpy as jnp
import pytest

from flax_lite.layers.kernels import cudnn_attention, cudnn_attention_fits


@pytest.mark.parametrize(
    ("length", "head_width", "fits"), [(128, 64, True), (2, 8, True), (127, 64, False), (8, 60, False), (8, 136, False)]
)
def test_cudnn_attention_fits_even_lengths_and_multiples_of_8_up_to_128(length, head_width, fits):
    assert cudnn_attention_fits(length, head_width) == fits


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="a GPU may have the kernel")
def test_cudnn_attention_on_cpu_raises_with_its_requirements():
    array = jnp.zeros((2, 6, 3, 4))
    with pytest.raises(ValueError, match=r"cudnn.*NVIDIA GPU.*bfloat16.*given float32 on cpu.*'xla' or 'auto'"):
        cudnn_attention(array, array, array, None)
