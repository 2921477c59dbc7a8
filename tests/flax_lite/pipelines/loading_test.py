"""A pipeline loads model and tokenizer of the same save."""

import shutil

import pytest

from flax_lite import pipelines
from flax_lite.files.staging import staged_directory
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.tokenization import tiny_files


@pytest.mark.parametrize("saves", [1, 2])
def test_model_and_tokenizer_are_of_the_same_save(saves, tmp_path, monkeypatch):
    """Another process saves a model with other labels and another tokenizer after the tokenizer was loaded."""
    for name in ("one", "two"):
        config = tiny.bert(labels=(f"{name}0", f"{name}1"))
        files.saved(tmp_path / name, "SequenceClassification", config)
        pieces = [*tiny_files.VOCAB, f"##{name}"]
        (tmp_path / name / "vocab.txt").write_text("\n".join(pieces) + "\n")
    shutil.copytree(tmp_path / "one", tmp_path / "model")
    load, pending = pipelines.load_tokenizer, ["one", "two"][-saves:]

    def load_then_save(source):
        tokenizer = load(source)
        if pending:
            with staged_directory(tmp_path / "model") as stage:
                shutil.copytree(tmp_path / pending.pop(), stage, dirs_exist_ok=True)
        return tokenizer

    monkeypatch.setattr(pipelines, "load_tokenizer", load_then_save)
    if saves == 2:
        with pytest.raises(ValueError, match=r"was replaced by another process twice while it was read: try again"):
            pipelines.pipeline("text-classification", tmp_path / "model")
        return
    pipe = pipelines.pipeline("text-classification", tmp_path / "model")
    assert pipe.model.config.labels == ("two0", "two1")
    assert "##two" in pipe.tokenizer.pieces
