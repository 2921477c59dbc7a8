"""Shards written here open in Hugging Face's own classes, and theirs open here."""

from pathlib import Path

import numpy as np
import pytest

from flax_lite.models.heads import MaskedLM
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import assert_same_parameters, edit_config, read_index, saved
from tests.flax_lite.reference import Reference

# One family by default: HF's classes take seconds, and the tables of the others are compared in parity_test.py too.
FAMILIES = ["albert", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert", "distilbert"))]


@pytest.mark.reference
@pytest.mark.parametrize("family", FAMILIES)
def test_shards_open_in_transformers_and_those_of_transformers_open_here(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways through the Flax classes, with the same parameters, nothing missing and nothing left over."""
    config = tiny.FAMILIES[family]()
    model = saved(tmp_path / "ours", "MaskedLM", config, format="flax", max_shard_size="4KB")
    reference = Reference("MaskedLM", config)
    theirs = reference.model  # says once that it is deprecated
    params = reference.load(tmp_path / "ours", monkeypatch)
    theirs.save_pretrained(tmp_path / "theirs", params=params, max_shard_size="4KB")
    index = read_index(tmp_path / "theirs", "flax")["weight_map"]
    ours = read_index(tmp_path / "ours", "flax")["weight_map"]
    assert index.keys() == ours.keys()
    assert len(set(index.values())) > 1
    edit_config(tmp_path / "theirs", architectures=None)
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "theirs"))


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_open_in_pytorch_classes_and_theirs_open_here(family: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = saved(tmp_path / "ours", "MaskedLM", tiny.FAMILIES[family](), max_shard_size="4KB")
    names = {"albert": "AlbertForMaskedLM", "bert": "BertForMaskedLM", "distilbert": "DistilBertForMaskedLM"}
    theirs, info = getattr(transformers, names[family]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert {key: list(value) for key, value in info.items() if len(value)} == {}
    ids = tiny.token_ids(model.config)
    with torch.no_grad():
        logits = theirs.eval()(torch.tensor(np.asarray(ids))).logits.numpy()
    np.testing.assert_allclose(tiny.call(model, ids).logits, logits, atol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="4KB")
    assert len(set(read_index(tmp_path / "theirs", "safetensors")["weight_map"].values())) > 2
    assert_same_parameters(model, MaskedLM.from_pretrained(tmp_path / "theirs"))
