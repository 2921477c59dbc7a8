"""Bernoulli draws against jax.random's, and the hash against its published vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from flax_lite.layers.kernels.threefry import bernoulli, threefry_2x32
from tests.flax_lite import jaxprs

# (counter, key, hash): known-answer vectors of Random123, tests/kat_vectors, threefry2x32 with 20 rounds.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_hash_equals_the_known_answers(counter, key, expected):
    words = [tuple(jnp.asarray(word, jnp.uint32) for word in pair) for pair in (key, counter)]
    assert tuple(int(word) for word in jax.jit(threefry_2x32)(*words)) == expected


@pytest.mark.parametrize(
    ("shape", "probability"),
    [
        ((), 0.5),
        ((7,), 0.0),
        ((7,), 1.0),
        ((2, 0, 3), 0.5),
        ((3, 5, 2), 1e-7),
        ((3, 5, 2), 1 / 3),
        ((2, 3, 64, 65), 0.1),
        ((2, 3, 64, 65), 1 - 0.1),
    ],
)
def test_draws_equal_those_of_jax(shape, probability):
    for seed in range(3):
        key = jax.random.key(seed)
        expected = jax.random.bernoulli(key, np.float32(probability), shape)
        np.testing.assert_array_equal(bernoulli(key, probability, shape), expected)


def test_boundary_equals_that_of_jax():
    """An element is True below the probability, not at it: tested with probabilities at an element's own fraction of
    2^23 and at the next float.
    """
    key, shape = jax.random.key(0), (1000,)
    for fraction in np.sort(jax.random.uniform(key, shape))[:2]:
        at, above = (bernoulli(key, float(p), shape) for p in (fraction, np.nextafter(fraction, np.float32(1))))
        assert above.sum() == at.sum() + 1
        np.testing.assert_array_equal(at, jax.random.bernoulli(key, fraction, shape))


def test_draws_under_vmap():
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = jax.vmap(lambda key: bernoulli(key, 0.5, (5, 6)))(keys)
    for key, row in zip(keys, drawn, strict=True):
        np.testing.assert_array_equal(row, jax.random.bernoulli(key, 0.5, (5, 6)))


@pytest.mark.parametrize("key", [jax.random.key(3, impl="rbg"), jax.random.PRNGKey(3)], ids=["rbg", "raw"])
def test_other_keys_fall_back_to_jax(key):
    np.testing.assert_array_equal(bernoulli(key, 0.5, (9,)), jax.random.bernoulli(key, 0.5, (9,)))


def test_unpartitionable_threefry_falls_back_to_jax():
    key = jax.random.key(0)
    with jax.threefry_partitionable(False):
        unpartitionable = np.asarray(bernoulli(key, 0.5, (64,)))
        np.testing.assert_array_equal(unpartitionable, jax.random.bernoulli(key, 0.5, (64,)))
    assert (unpartitionable != np.asarray(bernoulli(key, 0.5, (64,)))).any()


def test_more_elements_than_a_32_bit_counter_fall_back_to_jax():
    program = jaxprs.trace(lambda key: bernoulli(key, 0.5, (2**16, 2**16)), jax.random.key(0))
    assert any(equation.primitive.name == "random_bits" for equation in jaxprs.equations(program))


def test_symbolic_shapes_fall_back_to_jax():
    (rows,) = export.symbolic_shape("rows")
    draw = export.export(jax.jit(lambda x: bernoulli(jax.random.key(1), 0.5, (x.shape[0], 3))))
    exported = draw(jax.ShapeDtypeStruct((rows,), jnp.float32))
    expected = jax.random.bernoulli(jax.random.key(1), 0.5, (4, 3))
    np.testing.assert_array_equal(exported.call(jnp.zeros(4)), expected)


def test_sharded_draw_needs_no_communication():
    """Each device draws its own shard; together they equal the draw of one device."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    draw = jax.jit(lambda key: bernoulli(key, 0.9, (16, 5, 7)), out_shardings=rows)
    key = jax.random.key(5)
    np.testing.assert_array_equal(draw(key), jax.random.bernoulli(key, 0.9, (16, 5, 7)))
    text = draw.lower(key).compile().as_text()
    assert "all-" not in text
    assert "pred[2,5,7]" in text
    assert "[16,5,7]" not in text
