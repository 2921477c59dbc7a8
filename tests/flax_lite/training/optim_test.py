"""LAMB and AdamW against an independent NumPy port, their exclusions, LAMB's layer slices, and schedules."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import flax_lite as fl
from flax_lite.models.params import abstract_params, get_params
from flax_lite.training import optim
from tests.flax_lite.training import lamb_numpy

V, D, F = 11, 6, 8


def flat(tree):
    """Leaves by path, `/` between its parts."""
    return flax.traverse_util.flatten_dict(tree, sep="/")


def unflat(leaves):
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


_LAYER = {"attention/query/kernel": (D, F), "attention/query/bias": (F,), "attention/layer_norm/scale": (D,)}
# A shared layer, stacked layers, and parameters outside of layers.
STACKED = {f"encoder/layers/{path}": (3, *shape) for path, shape in _LAYER.items()}
SHAPES = {
    "encoder/embeddings/word/embedding": (V, D),
    "encoder/embeddings/layer_norm/bias": (D,),
    **{f"encoder/layer/{path}": shape for path, shape in _LAYER.items()},
    **STACKED,
    "masked_lm_head/bias": (V,),
}


def random_tree(seed, scale=1.0, shapes=SHAPES):
    """Float32 normal leaves with a different scale for each layer slice, so that a wrong trust ratio shows."""
    rng = np.random.default_rng(seed)
    leaves = {}
    for path, shape in shapes.items():
        sizes = np.exp(rng.normal(size=(shape[0], *[1] * (len(shape) - 1)))) if "/layers/" in path else 1.0
        leaves[path] = (scale * sizes * rng.normal(size=shape)).astype(np.float32)
    return unflat(leaves)


def one_variable_per_layer(tree):
    """Returns the tree as in Google's code: float64, with separate names for the variables of each layer."""
    variables = {}
    for path, leaf in flat(tree).items():
        before, stacked, after = path.partition("/layers/")
        if stacked:
            variables |= {f"{before}/layer_{i}/{after}": np.asarray(x, np.float64) for i, x in enumerate(leaf)}
        else:
            variables[path] = np.asarray(leaf, np.float64)
    return variables


def largest_error(actual, expected):
    """Returns the largest difference of any leaf, relative to the leaf's largest value."""
    return max(float(np.max(np.abs(actual[n] - expected[n])) / np.max(np.abs(expected[n]))) for n in expected)


def run(optimizer, params, gradients):
    """Returns the parameters after one update per gradient."""

    def update(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    program = jax.jit(lambda params, all_: jax.lax.scan(update, (params, optimizer.init(params)), all_)[0][0])
    return program(params, jax.tree.map(lambda *leaves: np.stack(leaves), *gradients))


def first_update(optimizer, params, gradients):
    """Returns the first update."""
    return jax.jit(lambda gradients, params: optimizer.update(gradients, optimizer.init(params), params)[0])(
        gradients, params
    )


PORTS = {"lamb": lamb_numpy.Lamb, "adamw": lamb_numpy.AdamW}
RATES = {"start": lamb_numpy.learning_rate, "peak": lamb_numpy.learning_rate_from_peak}


@pytest.mark.parametrize(
    ("name", "bias_correction", "decay_from"),
    [("lamb", None, "start"), ("lamb", True, "start"), ("adamw", False, "start"), ("adamw", None, "peak")],
)
def test_optimizer_equals_numpy_port_over_25_steps(name, bias_correction, decay_from):
    """With warm-up, decay and clipping: the norms of the gradients are on both sides of the limit."""
    peak, warmup, total, clip = 0.05, 8, 30, 10.0
    params = random_tree(seed=0)
    gradients = [random_tree(seed, scale=np.exp(2 * np.sin(seed))) for seed in range(1, 26)]
    norms = [np.sqrt(sum(np.sum(leaf**2) for leaf in flat(gradient).values())) for gradient in gradients]
    assert min(norms) < clip < max(norms)

    expected = one_variable_per_layer(params)
    reference = PORTS[name](corrected=name == "adamw" if bias_correction is None else bias_correction)
    for step, gradient in enumerate(gradients):
        clipped = lamb_numpy.clip_by_global_norm(one_variable_per_layer(gradient), clip)
        expected = reference.apply(expected, clipped, RATES[decay_from](step, peak, warmup, total))
    options = {"warmup_steps": warmup, "decay_from": decay_from, "bias_correction": bias_correction, "clip_norm": clip}
    actual = run(optim.make_optimizer(name, peak, total, **options), params, gradients)

    assert largest_error(one_variable_per_layer(params), expected) > 0.1
    # Float32 against float64: each of 25 steps rounds at 6e-8 of the parameter, the corrections 1 - b^t at as much.
    assert largest_error(one_variable_per_layer(actual), expected) < 6e-6


@pytest.mark.parametrize("name", PORTS)
def test_optimizer_uses_its_arguments(name):
    """Every argument has an effect: none has its default value here."""
    numbers = {"b1": 0.8, "b2": 0.95, "eps": 1e-2, "weight_decay": 0.3}
    params = random_tree(seed=0, shapes=STACKED)
    gradients = [random_tree(seed, scale=0.1, shapes=STACKED) for seed in range(1, 6)]
    expected, reference = one_variable_per_layer(params), PORTS[name](**numbers)
    for gradient in gradients:
        expected = reference.apply(expected, one_variable_per_layer(gradient), 0.03)
    numbers["bias_correction"] = False
    actual = run(optim.OPTIMIZERS[name](0.03, **numbers), params, gradients)
    assert largest_error(one_variable_per_layer(actual), expected) < 1e-6  # float32, 5 steps
    made = optim.make_optimizer(name, 0.03, 5, schedule="constant", clip_norm=None, **numbers)
    assert largest_error(flat(run(made, params, gradients)), flat(actual)) < 1e-7  # the learning rate is an array


def test_adamw_equals_optax_adamw():
    """In its updates and in the tree of its state, which is in checkpoints."""
    params = random_tree(seed=0)
    optimizer = optim.adamw(0.1)
    reference = optax.adamw(0.1, 0.9, 0.999, 1e-6, weight_decay=0.01, mask=optim.decay_mask)
    assert jax.tree.structure(optimizer.init(params)) == jax.tree.structure(reference.init(params))
    updates, expected = (first_update(each, params, params) for each in (optimizer, reference))
    jax.tree.map(np.testing.assert_array_equal, updates, expected)


def test_lamb_numbered_layers_are_not_slices():
    """Below `layers/0` each leaf is one layer: its rows share one trust ratio."""
    leaf, gradient = np.float32([[1.0, 2.0], [30.0, 40.0]]), np.float32([[1.0, -1.0], [0.1, 0.2]])
    both = lambda leaf: {"layers": {0: {"kernel": leaf}}, "dense": {"kernel": leaf}}  # noqa: E731
    updates = first_update(optim.lamb(0.1), both(leaf), both(gradient))
    np.testing.assert_array_equal(updates["layers"][0]["kernel"], updates["dense"]["kernel"])


def test_lamb_excluded_leaf_is_plain_adam():
    """Its update does not depend on the parameter; at the first step it is (1 - b1) / sqrt(1 - b2) times the sign."""
    paths = ("layer_norm/scale", "dense/bias", "layers/attention/layer_norm/scale", "layers/x/bias")
    scales = {"none": 0.0, "one": 1.0, "large": 1000.0}
    gradient = np.float32([[0.5, -2.0, 3.0]])
    params = {f"{name}/{path}": np.full((1, 3), scale, np.float32) for name, scale in scales.items() for path in paths}
    updates = flat(first_update(optim.lamb(0.01), unflat(params), unflat(dict.fromkeys(params, gradient))))
    expected = -0.01 * 0.1 / np.sqrt(0.001) * np.sign(gradient)
    assert len(updates) == 12
    for path, update in updates.items():
        np.testing.assert_allclose(update, expected, rtol=1e-4, err_msg=path)  # eps is 1e-6 of sqrt(v) >= 0.016


def test_lamb_zero_norms_have_ratio_one():
    """The update of a zero parameter is not rescaled, a zero update stays zero, and slices do not mix."""
    zeros, ones = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    params, gradients = ({"layers": {"kernel": np.stack(s)}} for s in ((zeros, ones, ones), (ones, zeros, ones)))
    updates = first_update(optim.lamb(1.0, weight_decay=0.0), params, gradients)
    of_zeros, of_no_gradient, ordinary = np.asarray(updates["layers"]["kernel"])
    np.testing.assert_allclose(of_zeros, -0.1 / (np.sqrt(0.001) + 1e-6), rtol=1e-5)  # 1 - b2 in float32
    np.testing.assert_array_equal(of_no_gradient, 0.0)
    np.testing.assert_allclose(ordinary, -1.0, rtol=1e-6)  # ||w|| / ||u|| makes the step as long as w


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_optimizer_state_and_updates_are_float32_under_bfloat16(name):
    """Bfloat16 parameters get the same updates as their values in float32."""
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), random_tree(seed=0, shapes=STACKED))
    wide = jax.tree.map(lambda leaf: leaf.astype(np.float32), narrow)
    optimizer = optim.make_optimizer(name, 0.1, 10)

    @jax.jit
    def update(tree):
        updates, state = optimizer.update(tree, optimizer.init(tree), tree)
        return updates, state, optax.apply_updates(tree, updates)

    updates, state, after = update(narrow)
    assert {leaf.dtype for leaf in jax.tree.leaves((updates, state))} == {jnp.dtype("float32"), jnp.dtype("int32")}
    jax.tree.map(np.testing.assert_array_equal, updates, update(wide)[0])
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_optimizer_decays_kernels_and_embeddings_only(name):
    """With zero gradients only the decay remains; LAMB's ratio rescales it, but not to zero."""
    params = random_tree(seed=0)
    decayed = {path for path in SHAPES if path.endswith(("kernel", "embedding"))}
    optimizer = optim.OPTIMIZERS[name](0.1, weight_decay=0.5)
    updates = flat(first_update(optimizer, params, jax.tree.map(np.zeros_like, params)))
    assert {path for path, update in updates.items() if np.any(update)} == decayed
    if name == "adamw":
        for path in decayed:
            np.testing.assert_allclose(updates[path], -0.1 * 0.5 * flat(params)[path], rtol=1e-6)


def test_adamw_first_update_is_bias_corrected():
    """With the correction the first update is the learning rate times the sign, whatever b1 and b2."""
    params = {"dense": {"kernel": np.ones((2, 2), np.float32)}}
    gradients = {"dense": {"kernel": np.float32([[3.0, -3.0], [5.0, 7.0]])}}
    optimizer = optim.adamw(0.01, b1=0.8, b2=0.98, weight_decay=0.0)
    updates = first_update(optimizer, params, gradients)
    np.testing.assert_allclose(updates["dense"]["kernel"], [[-0.01, 0.01], [-0.01, -0.01]], rtol=1e-5)


MODELS = {
    "ALBERT": (fl.MaskedLM, fl.AlbertConfig),
    "BERT": (fl.MaskedLM, fl.BertConfig),
    "DistilBERT": (fl.MaskedLM, fl.DistilBertConfig),
    "sentence order": (fl.PreTraining, fl.AlbertConfig),
    "classes": (fl.SequenceClassification, fl.DistilBertConfig),
    "choices": (fl.MultipleChoice, fl.BertConfig),
    "spans": (fl.QuestionAnswering, fl.BertConfig),
    "spans by beams": (fl.BeamQuestionAnswering, fl.AlbertConfig),
}


@pytest.mark.parametrize("name", MODELS)
def test_decay_mask_on_models_is_kernels_and_embeddings(name):
    """For a model's dictionary of parameters and for its nnx.State."""
    model, config = MODELS[name]
    small = config(vocab_size=V, hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=3)
    params = abstract_params(lambda: model(small, rngs=nnx.Rngs(0)))
    decayed = {path for path, decays in flat(optim.decay_mask(params)).items() if decays}
    assert decayed == {path for path in flat(params) if path.rpartition("/")[2] in ("kernel", "embedding")}
    state = nnx.state(nnx.eval_shape(lambda: model(small, rngs=nnx.Rngs(0))), nnx.Param)
    assert jax.tree.leaves(optim.decay_mask(state)) == [path in decayed for path in sorted(flat(params))]
    stacked = {path: leaf.shape for path, leaf in flat(params).items() if optim._STACKED.search(path)}
    assert len(stacked) == (0 if config is fl.AlbertConfig else 16)
    assert all(shape[0] == 3 for shape in stacked.values())


@pytest.mark.parametrize(
    ("path", "shape", "decays"),
    [
        ("final_norm/scale", (D,), False),
        ("rms/scale", (D,), False),
        ("norm/weight", (D,), False),
        ("LayerNorm/gamma", (D,), False),
        ("predictions/output_bias", (V,), False),
        ("cls", (D,), False),
        ("temperature", (), False),
        ("layers/gain", (3, D), False),
        ("layers/norm/scale", (3, D), False),
        ("blocks/norm/scale", (3, D), False),
        ("attention/query/bias", (2, D), False),
        ("layers/0/table", (3, D), True),
        ("layers/kernel", (3, D, F), True),
        ("unbiased/kernel", (D, F), True),
        ("layer_norm_mlp/kernel", (D, F), True),
        ("relative_bias/embedding", (V, D), True),
        ("scale/kernel", (D, 1), True),
        ("attention/query/kernel", (D, 2, 3), True),
    ],
)
def test_decay_depends_on_name_and_shape_of_a_parameter(path, shape, decays):
    """Parameters with decay are adapted too: LAMB's first update has the norm of the parameter, for any gradient."""
    params = {path: np.full(shape, 2.0, np.float32)}
    assert flat(optim.decay_mask(unflat(params))) == {path: decays}
    update = flat(first_update(optim.lamb(1.0), unflat(params), unflat(params)))[path]
    adapted = np.isclose(np.linalg.norm(update), np.linalg.norm(params[path]), rtol=1e-5)
    assert adapted == decays


class _Model(nnx.Module):
    def __init__(self):
        leaf = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
        self.layers = nnx.Dict(kernel=nnx.Param(jnp.asarray(leaf)), bias=nnx.Param(jnp.asarray(leaf[0])))
        self.layer_norm = nnx.Dict(scale=nnx.Param(jnp.asarray(leaf[1, 0])))


def test_lamb_inside_nnx_optimizer_equals_plain_dictionaries():
    """nnx.Optimizer passes an nnx.State; its paths must be read like those of a dictionary."""
    model, transformation = _Model(), optim.lamb(0.1)
    params = jax.tree.map(np.asarray, get_params(model))
    gradients = jax.tree.map(lambda leaf: np.sin(7 * leaf), params)
    expected = jax.tree.map(np.add, params, first_update(transformation, params, gradients))
    optimizer = nnx.Optimizer(model, transformation, wrt=nnx.Param)
    of_model = jax.tree.map(lambda leaf: jnp.asarray(np.sin(7 * np.asarray(leaf))), nnx.state(model, nnx.Param))
    nnx.jit(lambda model, optimizer, gradients: optimizer.update(model, gradients))(model, optimizer, of_model)
    assert largest_error(flat(get_params(model)), flat(expected)) < 1e-6


def test_schedule_jumps_after_warmup_as_in_google_s_code():
    """ALBERT's recipe: peak 0.00176 and 3125 of 125000 steps; the decay counts from step 0."""
    expected = {
        0: 0.0,
        1: 0.00176 / 3125,
        3124: 0.00176 * 3124 / 3125,
        3125: 0.001716,
        62_500: 0.00088,
        124_999: 0.00176 / 125_000,
        125_000: 0.0,
        200_000: 0.0,
    }
    expected |= {step: lamb_numpy.learning_rate(step, 0.00176, 3125, 125_000) for step in range(997, 124_000, 997)}
    rates = optim.warmup_polynomial(0.00176, 3125, 125_000)(jnp.array(list(expected)))
    for rate, (step, value) in zip(np.asarray(rates), expected.items(), strict=True):
        # In float32, 1 - step / total has an error of 6e-8, which is 0.8% of its value at the last step.
        rtol = {124_999: 1e-2}.get(step, 1e-5 if step % 997 == 0 else 1e-6)
        np.testing.assert_allclose(rate, value, rtol=rtol, err_msg=str(step))


def test_schedule_without_warmup_and_with_another_end():
    rate = optim.warmup_polynomial(1.0, 0, 10, power=2.0, end=0.5)
    np.testing.assert_allclose([rate(0), rate(5), rate(10)], [1.0, 0.625, 0.5], rtol=1e-6)


@pytest.mark.parametrize(("warmup", "total"), [(50, 1000), (0, 10), (1, 10), (9, 10), (10, 10), (0, 1), (1, 1)])
def test_decay_from_the_peak_equals_hugging_face(warmup, total):
    steps = np.arange(total + 3)
    rates = optim.warmup_polynomial(5e-4, warmup, total, decay_from="peak")(jnp.array(steps))
    port = [lamb_numpy.learning_rate_from_peak(step, 5e-4, warmup, total) for step in steps]
    np.testing.assert_allclose(rates, port, rtol=1e-5, atol=1e-10)
    parts = [optax.linear_schedule(0.0, 5e-4, warmup), optax.linear_schedule(5e-4, 0.0, max(1, total - warmup))]
    joined = optax.join_schedules(parts, [warmup])(jnp.array(steps[:total]))
    np.testing.assert_allclose(rates[:total], joined, rtol=1e-5, atol=1e-10)
    if warmup:
        from_start = optim.warmup_polynomial(5e-4, warmup, total)(jnp.array(steps[warmup:total]))
        np.testing.assert_allclose(from_start, (1 - warmup / total) * rates[warmup:total], rtol=1e-3)


def test_decay_from_the_peak_to_another_end():
    rate = optim.warmup_polynomial(1.0, 2, 10, power=2.0, end=0.5, decay_from="peak")
    np.testing.assert_allclose([rate(1), rate(2), rate(6), rate(10), rate(11)], [0.5, 1.0, 0.625, 0.5, 0.5], rtol=1e-6)


def test_schedule_by_name():
    linear, constant = (optim.make_schedule(name, 2.0, 4, 10) for name in ("linear", "constant"))
    np.testing.assert_allclose([linear(2), linear(4), linear(10)], [1.0, 1.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose([constant(2), constant(4), constant(10), constant(99)], [1.0, 2.0, 2.0, 2.0], rtol=1e-6)
    linear, constant = (optim.make_schedule(name, 2.0, 4, 10, decay_from="peak") for name in ("linear", "constant"))
    np.testing.assert_allclose([linear(2), linear(4), linear(7), linear(10)], [1.0, 2.0, 1.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose([constant(2), constant(4), constant(10)], [1.0, 2.0, 2.0], rtol=1e-6)


def test_optimizer_steps_follow_the_schedule():
    """The rate of update n is the schedule's at n; the first update of a warm-up is zero."""
    optimizer = optim.make_optimizer("lamb", 0.5, 10, warmup_steps=2, weight_decay=0.0)
    params = {"kernel": jnp.ones((2, 2))}

    def update(state, _):
        updates, state = optimizer.update(params, state, params)
        return state, updates["kernel"]

    updates = jax.jit(lambda: jax.lax.scan(update, optimizer.init(params), length=4)[1])()
    rate = optim.make_schedule("linear", 0.5, 2, 10)
    for step in range(4):
        # The norm of LAMB's update is the rate times the norm of the parameter, here 2.
        np.testing.assert_allclose(np.linalg.norm(updates[step]), 2 * rate(step), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.make_optimizer("adam", 0.1, 10), r"'adam'.*lamb, adamw"),
        (lambda: optim.make_optimizer("lamb", 0.1, 10, schedule="cosine"), r"'cosine'.*linear, constant"),
        (lambda: optim.make_schedule("linear", 0.1, 1, 10, decay_from="end"), r"decay_from 'end'.*start, peak"),
        (lambda: optim.warmup_polynomial(0.1, 0, 0), "total_steps is 0"),
        (lambda: optim.warmup_polynomial(0.1, 11, 10), r"warmup_steps is 11; expected 0 to total_steps \(10\)"),
        (lambda: optim.warmup_polynomial(0.1, -1, 10), "warmup_steps is -1"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
@pytest.mark.parametrize("clip_norm", [0, 0.0, -0.0, False])
def test_clip_norm_of_zero_is_no_clipping(name, clip_norm):
    params, gradients = {"kernel": jnp.ones(3)}, {"kernel": jnp.array([3.0, -4.0, 12.0])}
    updates = []
    for value in (clip_norm, None):
        optimizer = optim.make_optimizer(name, 0.1, 5, schedule="constant", clip_norm=value)
        updates.append(optimizer.update(gradients, optimizer.init(params), params)[0]["kernel"])
    np.testing.assert_array_equal(*updates)
    assert np.all(updates[0] != 0)


@pytest.mark.parametrize("clip_norm", [-1.0, -1e-9, float("nan")])
def test_negative_clip_norm_is_refused(clip_norm):
    with pytest.raises(ValueError, match="clip_norm is"):
        optim.make_optimizer("adamw", 0.1, 5, clip_norm=clip_norm)
