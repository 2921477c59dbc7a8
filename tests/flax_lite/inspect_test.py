"""Tests of the command inspect on complete, incomplete and foreign checkpoints."""

import re

import numpy as np
import pytest

from flax_lite import inspect
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import edit, edit_config, saved


def below(prefix):
    return lambda arrays: {prefix + name: values for name, values in arrays.items()}


def wrapped_in_part(arrays):
    return {("module." if name.startswith("bert.") else "loss.") + name: values for name, values in arrays.items()}


PARALLEL = "torch.nn.DataParallel or DistributedDataParallel"
WRAPPED = "57 of 57 tensors begin with '{}.', which {} adds: save the model inside it, or remove the prefix"
FOREIGN = {
    "DataParallel": (below("module."), WRAPPED.format("module", PARALLEL)),
    "torch.compile": (below("_orig_mod."), WRAPPED.format("_orig_mod", "torch.compile")),
    "both": (below("_orig_mod.module."), WRAPPED.format("_orig_mod.module", PARALLEL)),
    "Lightning": (below("model."), WRAPPED.format("model", "a class around the model, such as Lightning's,")),
    "sentence-transformers": (below("0.auto_model."), WRAPPED.format("0.auto_model", "sentence-transformers")),
    "anything": (below("my.net."), WRAPPED.format("my.net", "a class around the model")),
    "not all": (wrapped_in_part, "55 of 57 tensors begin with 'module.'"),
    "too deep": (below("a.b.c.d.e."), "Check that config.json belongs to these weights"),
    "LoRA": (below("base_model.model.lora_A.default."), "The file holds LoRA matrices"),
    "another model": (
        lambda arrays: {f"gpt.h.{number}": values for number, values in enumerate(arrays.values())},
        "Check that config.json belongs to these weights",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_checkpoint_without_a_tensor_of_the_family_is_refused(name, tmp_path, capsys):
    change, message = FOREIGN[name]
    saved(tmp_path / "model", "SequenceClassification", tiny.bert())
    edit(tmp_path / "model", change)
    assert inspect.main([str(tmp_path / "model")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "none of the 57 tensors is one of Bert's" in printed.err
    assert message in printed.err
    with pytest.raises(ValueError, match=r"none of the 57 tensors is one of Bert's.*" + re.escape(message)):
        tiny.MODELS["SequenceClassification"].from_pretrained(tmp_path / "model")


def test_unknown_and_missing_tensors_are_listed(tmp_path, capsys):
    saved(tmp_path / "model", "SequenceClassification", tiny.bert())

    def change(arrays):
        kept = {name: values for name, values in arrays.items() if "layer.1.output" not in name}
        return {**kept, "extra": np.zeros(2, np.float32), "bert.embeddings.position_ids": np.arange(16)}

    edit(tmp_path / "model", change)
    assert inspect.main([str(tmp_path / "model")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["unknown"] == "1: extra"
    assert lines["missing"].startswith("4: encoder/layers/1/")
    edit(tmp_path / "model", lambda arrays: {name: values for name, values in arrays.items() if "layer." not in name})
    assert inspect.main([str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(", ...")


def test_shapes_that_differ_from_the_config_are_listed(tmp_path, capsys):
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    edit_config(tmp_path / "model", vocab_size=10**9, max_position_embeddings=17)
    assert inspect.main([str(tmp_path / "model")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("other shapes"))
    assert "bert.embeddings.word_embeddings.weight [41, 12]" in line
    assert "bert.embeddings.position_embeddings.weight [16, 12]" in line


@pytest.mark.parametrize("head", ["Encoder", "MaskedLM", "SequenceClassification", "PreTraining"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_complete_model_has_no_mismatch(family, head, tmp_path, capsys):
    if (family, head) == ("distilbert", "PreTraining"):
        return
    saved(tmp_path / "model", head, tiny.FAMILIES[family]())
    assert inspect.main([str(tmp_path / "model")]) == 0
    printed = capsys.readouterr().out
    assert "unknown" not in printed
    assert "missing" not in printed
    assert "other shapes" not in printed
