"""A pipeline loads model and tokenizer of the same save, for a task that is given or inferred."""

import json
import shutil

import pytest

import flax_lite as fl
from flax_lite import pipelines
from flax_lite.checkpoints.sentence_transformers import write_sentence_transformers
from flax_lite.files.staging import staged_directory
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import files
from tests.flax_lite.pipelines import cases
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


@pytest.mark.parametrize("task", cases.HEADS)
@pytest.mark.parametrize("family", ["albert", "bert", "distilbert"])
def test_the_task_is_inferred_from_the_model(task, family, tmp_path):
    """From the class that config.json names, or from a model object's; files of sentence-transformers are a hint."""
    cases.saved(tmp_path, task, family)
    if task == "sentence-embedding":
        write_sentence_transformers(tmp_path, "cls", normalize=True)
    pipe = fl.pipeline(model=tmp_path, batch_size=3)
    assert pipe.task == task
    if task == "sentence-embedding":
        assert (pipe.pooling, pipe.normalize) == ("cls", True)
        return
    assert fl.pipeline(model=pipe.model, tokenizer=pipe.tokenizer).task == task


@pytest.mark.parametrize(
    ("head", "task"), [("PreTraining", "fill-mask"), ("BeamQuestionAnswering", "question-answering")]
)
def test_the_task_of_other_heads_is_inferred(head, task, tmp_path):
    config = tiny.albert(vocab_size=90, max_position_embeddings=cases.LENGTH)
    model = tiny.make(getattr(fl, head), config)
    model.save_pretrained(tmp_path)
    cases.write_tokenizer(tmp_path)
    assert fl.pipeline(model=tmp_path).task == fl.pipeline(model=model, tokenizer=tmp_path).task == task


@pytest.mark.parametrize(
    ("alias", "task"), [("ner", "token-classification"), ("sentiment-analysis", "text-classification")]
)
def test_aliases_are_those_of_transformers(alias, task):
    pipe = cases.pipe(task)
    assert fl.pipeline(alias, pipe.model, tokenizer=pipe.tokenizer).task == task


def test_a_task_that_cannot_be_inferred_is_asked_for(tmp_path):
    cases.saved(tmp_path / "model", "fill-mask")
    file = tmp_path / "model" / "config.json"
    for names, shown in ((["BertForMultipleChoice"], "BertForMultipleChoice"), ([], "no architectures")):
        file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": names}))
        with pytest.raises(
            ValueError, match=f"config.json names {shown}, is not known: give one of sentence-embedding"
        ):
            fl.pipeline(model=tmp_path / "model")
    with pytest.raises(ValueError, match="no task takes a MultipleChoice"):
        fl.pipeline(model=tiny.make("MultipleChoice", tiny.bert()), tokenizer=tmp_path / "model")
    with pytest.raises(ValueError, match=r"task '.*model' is not known; for a model, give model=; choose from"):
        fl.pipeline(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="a pipeline needs a model: give model="):
        fl.pipeline("fill-mask")


def test_options_are_checked_before_the_model_is_read(tmp_path, monkeypatch):
    cases.saved(tmp_path, "fill-mask")
    monkeypatch.setattr(pipelines, "load_for_task", lambda *_: pytest.fail("the model is read"))
    with pytest.raises(TypeError, match=r"^fill-mask takes no topk here: there is no topk, did you mean top_k\?"):
        fl.pipeline(model=tmp_path, topk=3)
