"""Tests that shards written here load in Hugging Face's classes, and the other way round."""

from pathlib import Path

import numpy as np
import pytest

from flax_lite.models.heads import MaskedLM
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import assert_same_parameters, edit_config, read_index, saved
from tests.flax_lite.reference import Reference

# One family by default: Hugging Face's classes take seconds, and parity_test.py compares all weight tables.
FAMILIES = ["albert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "distilbert"))]


@pytest.mark.reference
@pytest.mark.parametrize("family", FAMILIES)
def test_shards_round_trip_through_flax_classes(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both directions, with equal parameters, and no missing or unexpected ones."""
    config = tiny.FAMILIES[family]()
    model = saved(tmp_path / "written", "MaskedLM", config, format="flax", max_shard_size="4KB")
    reference = Reference("MaskedLM", config)
    flax_model = reference.model  # warns once that it is deprecated
    params = reference.load(tmp_path / "written", monkeypatch)
    flax_model.save_pretrained(tmp_path / "reference", params=params, max_shard_size="4KB")
    index = read_index(tmp_path / "reference", "flax")["weight_map"]
    assert index.keys() == read_index(tmp_path / "written", "flax")["weight_map"].keys()
    assert len(set(index.values())) > 1
    edit_config(tmp_path / "reference", architectures=None)
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "reference"))


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_round_trip_through_pytorch_classes(family: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = saved(tmp_path / "written", "MaskedLM", tiny.FAMILIES[family](), max_shard_size="4KB")
    names = {"albert": "AlbertForMaskedLM", "bert": "BertForMaskedLM", "distilbert": "DistilBertForMaskedLM"}
    torch_model, info = getattr(transformers, names[family]).from_pretrained(
        tmp_path / "written", output_loading_info=True
    )
    assert {key: list(value) for key, value in info.items() if len(value)} == {}
    ids = tiny.token_ids(model.config)
    with torch.no_grad():
        logits = torch_model.eval()(torch.tensor(np.asarray(ids))).logits.numpy()
    np.testing.assert_allclose(tiny.call(model, ids).logits, logits, atol=1e-5)
    torch_model.save_pretrained(tmp_path / "reference", max_shard_size="4KB")
    assert len(set(read_index(tmp_path / "reference", "safetensors")["weight_map"].values())) > 2
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "reference"))
