"""Tests of a custom family, registered through the public API."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from flax_lite.architecture import register, registry
from flax_lite.families import BertConfig, bert
from tests.flax_lite import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class CustomConfig(BertConfig):
    model_type: ClassVar[str] = "custom"


def test_custom_family_is_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    weights = dataclasses.replace(bert.FAMILY.weights, family="Custom", prefix="custom")
    register(dataclasses.replace(bert.FAMILY, config=CustomConfig, weights=weights))
    sizes = {field.name: getattr(tiny.bert(), field.name) for field in dataclasses.fields(BertConfig) if field.init}
    model = tiny.make("MaskedLM", CustomConfig(**sizes))
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model")
    assert type(again.config) is CustomConfig
    assert again.config.architectures == ("CustomForMaskedLM",)
    ids = jnp.ones((1, 3), jnp.int32)
    np.testing.assert_array_equal(again(ids).logits, model(ids).logits)


def test_error_names_an_unregistered_family():
    with pytest.raises(
        ValueError, match="model_type 'custom' is not supported; flax_lite reads albert, bert, distilbert"
    ):
        registry.weight_table(CustomConfig(vocab_size=8))
