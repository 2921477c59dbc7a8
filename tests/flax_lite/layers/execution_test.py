"""The execution configuration changes how a model is computed, never the function."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.architecture.config import EncoderConfig
from flax_lite.layers import transformer
from flax_lite.layers.execution import Execution
from tests.flax_lite import jaxprs, tiny

KEY = jax.random.key(1)
# The same float32 operations in another order; measured: differences up to 9e-7 of a leaf's largest element.
SAME = 2e-6
VARIANTS = [
    ("shared", Execution(unroll=2, remat="dots")),
    ("scanned", Execution(unroll=0)),
    ("indexed", Execution(unroll=0, remat="full")),
]


def value_and_grad(stack, execution):
    """With dropout, whose draw must not change either; on probabilities only, because masks take long to compile."""
    config = tiny.STACKS[stack](hidden_dropout_prob=0.0)
    encoder = tiny.make("Encoder", config, add_pooler=False, execution=execution)
    return tiny.value_and_grad(encoder, tiny.token_ids(config), key=KEY)


@pytest.mark.parametrize(("stack", "execution"), VARIANTS)
def test_unroll_and_remat_change_no_value_and_no_gradient(stack, execution):
    value, gradient = value_and_grad(stack, execution)
    expected_value, expected_gradient = value_and_grad(stack, Execution())
    np.testing.assert_allclose(value, expected_value, rtol=SAME, atol=SAME)
    tiny.assert_gradients_close(gradient, expected_gradient, SAME)


def program(execution, depth=6):
    config = tiny.albert(num_hidden_layers=depth)
    encoder = tiny.make("Encoder", config, execution=execution)
    return jaxprs.primitives(jaxprs.trace(encoder, tiny.token_ids(config))), encoder


@pytest.mark.parametrize(("unroll", "resolved"), [(1, 1), (4, 4), (0, 6), (9, 6), ("auto", 6)])
def test_unroll_is_passed_to_the_scan(unroll, resolved):
    """Layers per iteration, at most all of them; on CPU "auto" unrolls a depth of 6."""
    traced, encoder = program(Execution(unroll=unroll))
    assert encoder.execution.unroll == resolved
    assert traced["scan"] == 1


def temporary_bytes(make, execution):
    """Temporary memory of the compiled gradient program."""
    config = make(num_hidden_layers=8, hidden_size=48, intermediate_size=192)
    encoder = tiny.make("Encoder", config, execution=execution)
    ids = tiny.token_ids(config, batch=8, length=16)
    return tiny.value_and_grad.lower(encoder, ids).compile().memory_analysis().temp_size_in_bytes


def test_remat_saves_memory():
    """Over 8 layers: keeping only the layer inputs saves most of the activations. Without remat, layers keep little
    more than matrix products (`recompute_in_backward`), so that "dots" saves little: mainly Q K^T, which has batch
    dimensions.
    """
    memory = {remat: temporary_bytes(tiny.albert, Execution(remat=remat)) for remat in ("none", "dots", "full")}
    assert memory["full"] < 0.5 * memory["none"], memory
    assert memory["full"] < memory["dots"] < 0.9 * memory["none"], memory


@pytest.mark.parametrize("family", ["albert", "distilbert"])
def test_bfloat16_is_near_float32(family):
    """bfloat16 has 8 significant bits, so the error of a rounding is up to 2^-9 = 0.2%. A dozen roundings in sequence
    through 3 layers with LayerNorm outputs of order 1 add up to about 1%; statistics or a softmax in bfloat16 would
    show far above that.
    """
    config = tiny.FAMILIES[family]()
    ids = tiny.token_ids(config)
    full, half = (
        tiny.call(tiny.make("MaskedLM", config, execution=Execution(dtype=dtype)), ids, output_hidden_states=True)
        for dtype in ("float32", "bfloat16")
    )
    difference = np.asarray(half.hidden_states, np.float32) - full.hidden_states
    assert 0 < np.sqrt((difference**2).mean()) < 0.02
    logits = np.asarray(half.logits - full.logits)
    assert np.sqrt((logits**2).mean()) < 0.02 * np.std(full.logits)


@pytest.mark.parametrize(
    ("family", "head"),
    [("albert", "MaskedLM"), ("bert", "SequenceClassification"), ("distilbert", "SequenceClassification")],
)
def test_float16_with_padding_is_near_float32(family, head):
    """Rows without padding, with some padding, and of padding only. The mask is float32's lowest number on float32
    scores: 1e30 or -inf in half precision would cause NaN (as in every row of Hugging Face Flax's DistilBERT). float16
    has 11 significant bits, so an eighth of bfloat16's error.
    """
    config = tiny.FAMILIES[family]()
    ids = tiny.token_ids(config, batch=3)
    mask = jnp.ones_like(ids).at[1, 4:].set(0).at[2].set(0)
    half, single = (
        tiny.call(tiny.make(head, config, execution=Execution(dtype=dtype)), ids, mask).logits
        for dtype in ("float16", "float32")
    )
    assert jnp.isfinite(half).all()
    assert 0 < float(jnp.abs(half - single)[:2].max()) < 0.05 / 8 * float(jnp.abs(single).max())


def test_gradients_of_bfloat16_are_float32():
    config = tiny.albert()
    encoder = tiny.make("Encoder", config, execution=Execution(dtype="bfloat16"))
    _, gradient = jax.eval_shape(tiny.value_and_grad, encoder, tiny.token_ids(config))
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(jnp.float32)}


FUSED_WIDTHS = {"hidden_size": 32, "num_attention_heads": 4}  # heads of width 8, which cuDNN supports


def device(platform, **attributes):
    return SimpleNamespace(platform=platform, **attributes)


@pytest.mark.parametrize(
    ("found", "dtype", "unroll", "attention"),
    [
        (device("cpu"), "float32", 6, "xla"),
        (device("tpu"), "bfloat16", 1, "xla"),
        (device("gpu", compute_capability="7.5"), "float32", 6, "xla"),
        (device("gpu", compute_capability="8.0"), "bfloat16", 6, "cudnn"),
        (device("gpu", compute_capability="12.0"), "bfloat16", 6, "cudnn"),
        (device("gpu", compute_capability="gfx942"), "float32", 6, "xla"),
        (device("gpu"), "float32", 6, "xla"),
    ],
)
def test_auto_follows_the_device(found, dtype, unroll, attention, monkeypatch):
    """bfloat16 with hardware support: not on a T4 (compute capability 7.5); unrolled if loops are slow; fused
    attention for bfloat16 on a GPU.
    """
    monkeypatch.setattr("flax_lite.layers.execution.jax.devices", lambda: [found])
    resolved = Execution(dtype="auto", unroll="auto").resolve(6)
    assert (resolved.dtype, resolved.unroll, resolved.attention) == (dtype, unroll, attention)
    assert resolved.compute_dtype == jnp.dtype(dtype)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_auto_unrolls_up_to_12_layers(platform):
    found = [Execution(unroll="auto").resolve(steps, device(platform)).unroll for steps in (12, 13, 96)]
    assert found == [12, 1, 1]


def test_auto_leaves_float32_to_xla_on_a_gpu():
    """cuDNN's fused attention supports 16-bit activations only."""
    hopper = device("gpu", compute_capability="9.0")
    found = [Execution(dtype=dtype).resolve(1, hopper).attention for dtype in ("float32", "bfloat16", "float16")]
    assert found == ["xla", "cudnn", "cudnn"]


def test_library_default_is_float32_scanned():
    resolved = Execution().resolve(12)
    assert (resolved.dtype, resolved.unroll, resolved.remat, resolved.attention) == ("float32", 1, "none", "xla")


def test_unresolved_dtype_is_an_error():
    with pytest.raises(ValueError, match=r"'auto'.*resolve"):
        _ = Execution(dtype="auto").compute_dtype


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtype": "float64"}, "dtype='float64'.*float32, bfloat16, float16, auto"),
        ({"remat": "some"}, "remat='some'.*none, dots, full"),
        ({"attention": "flash"}, "attention='flash'.*auto, xla, cudnn"),
        ({"unroll": -1}, "unroll=-1"),
        ({"unroll": "all"}, "unroll='all'"),
        ({"unroll": 1.5}, "unroll=1.5"),
    ],
)
def test_unknown_values_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Execution(**given)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="a GPU may have the kernel")
def test_cudnn_without_a_gpu_is_an_error():
    config = tiny.bert(**FUSED_WIDTHS)
    encoder = tiny.make("Encoder", config, execution=Execution(attention="cudnn"))
    with pytest.raises(ValueError, match=r"cudnn.*NVIDIA GPU.*'xla' or 'auto'"):
        jax.eval_shape(encoder, jnp.ones((2, 8), jnp.int32))


def test_cudnn_falls_back_to_xla():
    """Dropout on probabilities, captured scores or probabilities, odd lengths and heads of other widths are computed
    by XLA, so that they work on any device.
    """
    for config, length in ((tiny.bert(**FUSED_WIDTHS), 7), (tiny.bert(), 8)):
        encoder = tiny.make("Encoder", config, execution=Execution(attention="cudnn"))
        assert np.isfinite(tiny.call(encoder, jnp.ones((2, length), jnp.int32)).last_hidden_state).all()
    config = tiny.bert(**FUSED_WIDTHS)
    ids = jnp.ones((2, 8), jnp.int32)
    fused, plain = (tiny.make("Encoder", config, execution=Execution(attention=name)) for name in ("cudnn", "xla"))
    for options in ({"output_attentions": True}, {"capture": ("scores",), "capture_layers": (0,)}, {"key": KEY}):
        found, expected = (str(jaxprs.trace(encoder, ids, **options)) for encoder in (fused, plain))
        assert found == expected


def test_projections_are_not_fused_for_cudnn(monkeypatch):
    """In training Q, K and V are three products for attention by cuDNN, and one product otherwise."""
    monkeypatch.setattr(transformer, "cudnn_attention", lambda queries, *rest: queries)
    config = tiny.bert(**FUSED_WIDTHS, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    found = {}
    for name in ("cudnn", "xla"):
        encoder = tiny.make("Encoder", config, execution=Execution(attention=name))
        found[name] = jaxprs.primitives(jaxprs.trace(encoder, jnp.ones((2, 8), jnp.int32), key=KEY))["concatenate"]
    assert found["cudnn"] < found["xla"]


def test_deterministic_sets_xla_flags():
    assert Execution(deterministic=True).xla_flags() == ("--xla_gpu_deterministic_ops=true",)
    assert Execution().xla_flags() == ()


def test_architecture_and_execution_share_no_field():
    """config.json must never decide how a model is computed, nor an execution config its architecture."""
    architecture = {field.name for field in dataclasses.fields(EncoderConfig)}
    assert not architecture & {field.name for field in dataclasses.fields(Execution)}
