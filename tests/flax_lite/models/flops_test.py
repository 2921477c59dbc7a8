"""Floating-point operations by formula, against the products in the traced programs."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from flax_lite.architecture.registry import preset
from flax_lite.models.flops import distillation_cost, encoder_flops, word_head_flops
from flax_lite.models.params import get_params
from flax_lite.training import objective, steps
from tests.flax_lite import distillation_cases as cases
from tests.flax_lite import jaxprs, tiny

B, T = 3, 10
FAMILIES = {
    **tiny.FAMILIES,
    "albert in groups": functools.partial(tiny.albert, num_hidden_groups=2, inner_group_num=2),
    "untied": functools.partial(tiny.bert, tie_word_embeddings=False),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def flops(function, *args, **kwargs):
    """Counts two for each multiply-add of the matrix products."""
    return 2 * jaxprs.multiply_adds(jaxprs.trace(function, *args, **kwargs))


def test_multiply_adds_counts_each_run_of_a_product():
    def function(x, y):
        return jax.lax.scan(lambda total, _: (total @ jax.jit(jnp.dot)(y, y), None), x, None, length=7)[0]

    assert jaxprs.multiply_adds(jaxprs.trace(function, jnp.ones((2, 3)), jnp.ones((3, 3)))) == 7 * (2 * 9 + 27)


@every_family
def test_encoder_flops_equal_the_products_of_the_program(family):
    """For B rows, without and with dropout, which has no products; without the pooler."""
    config = FAMILIES[family]()
    encoder = tiny.make("Encoder", config, add_pooler=False)
    ids = tiny.token_ids(config, batch=B, length=T)
    for key in (None, jax.random.key(0)):
        assert flops(encoder, ids, key=key) == B * T * encoder_flops(config, T)


@every_family
def test_word_head_flops_equal_the_products_of_the_program(family):
    config = FAMILIES[family]()
    model = tiny.make("MaskedLM", config)
    assert flops(model.word_logits, jnp.ones((B, T, config.hidden_size))) == B * T * word_head_flops(config)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_gradient_has_three_times_the_encoder_flops(family):
    """Each product has two products in its derivative, one for each factor, as `distillation_cost` assumes."""
    config = FAMILIES[family]()
    encoder = tiny.make("Encoder", config, add_pooler=False)
    gradient = jax.grad(lambda encoder, ids: tiny.scalar(encoder(ids)))
    assert flops(gradient, encoder, tiny.token_ids(config, batch=B, length=T)) == 3 * B * T * encoder_flops(config, T)


def test_distillation_cost_equals_its_formula():
    """For the published pair at T=512 and 15% masked positions, in multiply-adds per token.

    BERT-base's layer has 4 * 768^2 + 2 * 768 * 3072 + 2 * 512 * 768 = 7864320, its head 768 * (768 + 30522) = 24030720.
    """
    cost = distillation_cost(preset("distilbert-base-uncased"), preset("bert-base-uncased"), 512, 0.15)
    layer, head = 7864320, 24030720
    alone = 3 * 6 * layer + 3 * 0.15 * head
    assert cost == pytest.approx(1 + (12 * layer + 6 * head) / alone, rel=1e-12)
    assert cost > 1


def test_distillation_cost_equals_that_of_the_programs():
    """Products of DistilBERT's step over those of a masked-LM step of the same student, with P = 5 masked slots in T =
    10 tokens, and 5 full chunks, because a padded chunk computes additional products.
    """
    student, teacher = cases.models()
    batch, params = cases.make_batch(), get_params(teacher)
    state, optimizer = cases.first_state(student), cases.keep_gradient()
    masked_lm = steps.make_train_step(nnx.graphdef(student), objective.masked_lm_objective(), optimizer, seed=0)
    triple = cases.recipe_of({"soft_cross_entropy": 5.0, "mlm": 2.0, "cosine": 1.0}, num_chunks=5)
    taught = cases.training_step(student, teacher, triple)
    ratio = flops(taught, state, batch, params) / flops(masked_lm, state, batch)
    assert distillation_cost(cases.STUDENT, cases.TEACHER, 10, 0.5) == pytest.approx(ratio, rel=1e-12)
