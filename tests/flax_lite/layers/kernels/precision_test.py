"""Products of 16-bit factors with float32 results, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.layers.kernels.precision import einsum_f32
from tests.flax_lite import jaxprs

SCORES = "BTNH,BSNH->BNTS"


def factors(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    queries, key_vectors = (jax.random.normal(key, (2, 6, 3, 8)).astype(dtype) for key in keys[:2])
    return queries, key_vectors, jax.random.normal(keys[2], (2, 3, 6, 6))


def products(program):
    return [one for one in jaxprs.equations(program) if one.primitive.name == "dot_general"]


def test_product_of_bfloat16_factors_is_not_rounded():
    """Products of 8-bit significands are exact in float32, and sums of 8 of them are nearly exact."""
    queries, keys, _ = factors(jnp.bfloat16)
    found = einsum_f32(SCORES, queries, keys)
    assert found.dtype == jnp.float32
    expected = np.einsum(SCORES, *(np.asarray(one, np.float64) for one in (queries, keys)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_products_in_the_factors_dtype():
    """The cotangent and the result are each rounded once, by at most 2^-8 relative."""
    queries, keys, cotangent = factors(jnp.bfloat16)

    def gradients(queries, keys):
        return jax.vjp(lambda *given: einsum_f32(SCORES, *given), queries, keys)[1](cotangent)

    # Only the product of the forward pass is float32.
    narrow = [
        one for one in products(jaxprs.trace(gradients, queries, keys)) if one.outvars[0].aval.dtype == jnp.bfloat16
    ]
    assert len(narrow) >= 2
    assert {str(factor.aval.dtype) for one in narrow for factor in one.invars} == {"bfloat16"}
    wide = [np.asarray(one, np.float64) for one in (queries, keys, cotangent)]
    expected = (np.einsum("BNTS,BSNH->BTNH", wide[2], wide[1]), np.einsum("BNTS,BTNH->BSNH", wide[2], wide[0]))
    for found, wanted in zip(gradients(queries, keys), expected, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(found, np.float64), wanted, atol=2.0**-7 * np.abs(wanted).max())


def test_float32_factors_have_jax_s_own_rule():
    """Including forward mode, which a custom VJP does not have."""
    queries, keys, _ = factors(jnp.float32)
    _, tangent = jax.jvp(lambda given: einsum_f32(SCORES, given, keys), (queries,), (jnp.ones_like(queries),))
    np.testing.assert_allclose(tangent, jnp.einsum(SCORES, jnp.ones_like(queries), keys), rtol=1e-6)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda given: einsum_f32(SCORES, given, given), *[(factors(jnp.bfloat16)[0],)] * 2)
