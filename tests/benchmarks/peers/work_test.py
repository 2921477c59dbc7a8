"""The work has padded rows, dropout, and random values in every parameter."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.harness import sentences
from benchmarks.peers import work
from flax_lite.checkpoints.sources.resolve import open_source
from train.errors import UserError


def test_positions_and_labels_agree():
    batch = work.make_batch(vocab_size=500, rows=8, length=128)
    for row in range(8):
        chosen = batch["masked_weights"][row] == 1
        positions = batch["masked_positions"][row][chosen]
        assert len(set(positions)) == len(positions) >= 5
        np.testing.assert_array_equal(np.flatnonzero(batch["labels"][row] >= 0), positions)
        np.testing.assert_array_equal(batch["labels"][row][positions], batch["masked_ids"][row][chosen])
        assert batch["attention_mask"][row][positions].all()
    lengths = batch["attention_mask"].sum(1)
    assert (lengths[0], lengths[-1]) == (128, 32)
    assert 0 < (batch["token_type_ids"] == 1).sum() < batch["attention_mask"].sum()


@pytest.mark.parametrize("model", [*work.MODELS, "albert-large"])
def test_real_models_have_published_sizes_and_dropout(model):
    config = work.model_config(model, work.REAL, "forward", None)
    assert config.hidden_size == (1024 if model == "albert-large" else 768)
    assert config.num_hidden_layers == {"distilbert": 6, "albert-large": 24}.get(model, 12)
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.1
    assert work.model_config(model, work.REAL, "compile", 48).num_hidden_layers == 48


def test_every_parameter_has_noise(tmp_path):
    work.write_model(work.model_config("bert", work.SMOKE, "mlm", None), tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert all(np.unique(array).size > 1 for array in tensors.values())
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    work.write_model(work.model_config("bert", work.SMOKE, "mlm", None), tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_model_of_another_config_is_rewritten(tmp_path):
    config = work.model_config("bert", work.SMOKE, "mlm", None)
    work.write_model(config, tmp_path)
    work.write_model(config.replace(num_hidden_layers=1), tmp_path)
    assert open_source(tmp_path).config.num_hidden_layers == 1


def test_random_rows_fit_their_buckets():
    rows = sentences.random_rows(500, 200, 128)
    assert (rows["lengths"] <= rows["buckets"]).all()
    assert set(rows["buckets"]) == {16, 32, 64, 128}
    assert 28 < rows["lengths"].mean() < 36


@pytest.mark.parametrize("model", work.MODELS)
def test_real_rows_are_the_pairs_in_their_order(model, shared_data):
    rows = sentences.real_rows(shared_data, model, 20)
    assert rows["input_ids"].shape == (20, 128)
    assert (rows["lengths"] <= rows["buckets"]).all()
    assert (rows["token_type_ids"].sum(1) > 0).all()
    assert len(sentences.real_rows(shared_data, model, 0)["lengths"]) == 1500


def test_missing_data_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no glue/STS-B/dev\.tsv in it"):
        sentences.real_rows(tmp_path, "bert", 10)
