"""A family of one's own, through the public API."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.architecture import register, registry
from flax_lite.families import BertConfig, bert
from tests.flax_lite import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnConfig(BertConfig):
    model_type: ClassVar[str] = "own"


def test_a_record_of_one_s_own_is_saved_and_read_like_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    weights = dataclasses.replace(bert.FAMILY.weights, family="Own", prefix="own")
    register(dataclasses.replace(bert.FAMILY, config=OwnConfig, weights=weights))
    sizes = {field.name: getattr(tiny.bert(), field.name) for field in dataclasses.fields(BertConfig) if field.init}
    model = tiny.make("MaskedLM", OwnConfig(**sizes))
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model")
    assert type(again.config) is OwnConfig
    assert again.config.architectures == ("OwnForMaskedLM",)
    ids = jnp.ones((1, 3), jnp.int32)
    np.testing.assert_array_equal(again(ids).logits, model(ids).logits)


def test_a_family_that_nobody_registered_is_named():
    with pytest.raises(ValueError, match="model_type 'own' is not supported; flax_lite reads albert, bert, distilbert"):
        registry.weight_table(OwnConfig(vocab_size=8))
