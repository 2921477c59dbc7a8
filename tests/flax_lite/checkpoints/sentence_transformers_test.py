"""The files of sentence-transformers: read as both generations write them, written, and refused where they say more."""

import json

import pytest

import flax_lite as fl
from flax_lite.checkpoints.sentence_transformers import (
    SentenceLayout,
    read_sentence_transformers,
    write_sentence_transformers,
)
from flax_lite.checkpoints.sources.resolve import sentence_transformers_layout
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import saved
from tests.flax_lite.pipelines import cases

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules.pooling."


def modules(*kinds, prefix=OLD, pooling="1_Pooling", first=""):
    paths = {"Transformer": first, "Pooling": pooling}
    return [
        {"idx": place, "name": str(place), "path": paths.get(kind, f"{place}_{kind}"), "type": prefix + kind}
        for place, kind in enumerate(kinds)
    ]


def layout(directory, listed, pooling=None, **settings):
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "modules.json").write_text(json.dumps(listed))
    if pooling is not None:
        (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if settings:
        (directory / "sentence_bert_config.json").write_text(json.dumps(settings))
    return read_sentence_transformers(directory)


def test_directory_without_modules_says_nothing(tmp_path):
    assert read_sentence_transformers(tmp_path) is None


def test_both_generations_are_read(tmp_path):
    flags = {"word_embedding_dimension": 12, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    listed = modules("Transformer", "Pooling")
    assert layout(tmp_path, listed, flags) == SentenceLayout("cls", False, None)
    listed = modules("Transformer", "Pooling", "Normalize", prefix=NEW)
    new = {"embedding_dimension": 12, "pooling_mode": "max", "include_prompt": True}
    assert layout(tmp_path, listed, new, max_seq_length=9, do_lower_case=False) == SentenceLayout("max", True, 9)
    assert layout(tmp_path, listed, {"pooling_mode": ["mean"]}).pooling == "mean"
    assert layout(tmp_path, listed, {}).pooling == "mean"


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (modules("Transformer", "Pooling", "Dense"), "lists Transformer, Pooling, Dense; what can be read is"),
        (modules("Transformer"), "lists Transformer; what can be read is"),
        ([], "lists nothing"),
        ({"a": 1}, "holds a dict, expected a list"),
        (["a"], "holds no list of modules"),
        (modules("Transformer", "Pooling", first="0_Transformer"), "has its encoder in '0_Transformer'"),
        (modules("Transformer", "Pooling", pooling="../elsewhere"), "has its pooling in '../elsewhere'"),
    ],
)
def test_other_modules_are_refused(tmp_path, listed, message):
    with pytest.raises(ValueError, match=message):
        layout(tmp_path, listed, {"pooling_mode": "mean"})


@pytest.mark.parametrize(
    ("pooling", "settings", "message"),
    [
        ({"pooling_mode": "lasttoken"}, {}, r"pools tokens by \['lasttoken'\]; what can be read is one of mean"),
        ({"pooling_mode": ["mean", "max"]}, {}, r"pools tokens by \['mean', 'max'\]"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, {}, "pools tokens by"),
        ({"pooling_mode": 3}, {}, "pools tokens by 3"),
        ({}, {"max_seq_length": 2}, "max_seq_length=2; expected"),
        ({}, {"max_seq_length": "9"}, "max_seq_length='9'; expected"),
        ({}, {"do_lower_case": True}, "asks for lower-casing before the tokenizer"),
    ],
)
def test_other_settings_are_refused(tmp_path, pooling, settings, message):
    with pytest.raises(ValueError, match=message):
        layout(tmp_path, modules("Transformer", "Pooling"), pooling, **settings)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"default_prompt_name": "query", "prompts": {"query": "query: "}}, True),
        ({"default_prompt_name": "query"}, True),
        ({"default_prompt_name": "query", "prompts": {"query": ""}}, False),
        ({"default_prompt_name": None, "prompts": {"query": "query: "}}, False),
    ],
)
def test_a_prompt_before_every_text_is_refused(tmp_path, hub, settings, refused):
    directory = cases.saved(tmp_path / "model", "sentence-embedding")
    write_sentence_transformers(directory)
    (directory / "config_sentence_transformers.json").write_text(json.dumps(settings))
    files = [path for path in directory.rglob("*") if path.is_file()]
    hub.add("owner/prompted", {str(path.relative_to(directory)): path.read_bytes() for path in files})
    for source in (directory, "owner/prompted"):
        if refused:
            with pytest.raises(ValueError, match="asks for the prompt 'query' before every text"):
                sentence_transformers_layout(source)
        else:
            assert sentence_transformers_layout(source) == SentenceLayout(max_length=cases.LENGTH)


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False), ("max", True)])
def test_what_is_written_is_read(tmp_path, pooling, normalize):
    saved(tmp_path, "Encoder", tiny.bert())
    write_sentence_transformers(tmp_path, pooling, normalize=normalize, max_length=9)
    assert read_sentence_transformers(tmp_path) == SentenceLayout(pooling, normalize, 9)
    config = json.loads((tmp_path / "1_Pooling" / "config.json").read_text())
    assert config["word_embedding_dimension"] == 12
    assert sum(value is True for value in config.values()) == 1


def test_writing_needs_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"holds no config.json; save the model there first"):
        write_sentence_transformers(tmp_path)
    saved(tmp_path, "Encoder", tiny.bert())
    with pytest.raises(ValueError, match="max_length=17; expected 3 to 16"):
        write_sentence_transformers(tmp_path, max_length=17)
    with pytest.raises(ValueError, match="pooling='sum' is not known"):
        write_sentence_transformers(tmp_path, "sum")
    assert not (tmp_path / "modules.json").exists()


def test_hub_sends_these_files_too(tmp_path, hub):
    directory = cases.saved(tmp_path / "model", "sentence-embedding")
    write_sentence_transformers(directory, "cls", max_length=20)
    files = [path for path in directory.rglob("*") if path.is_file()]
    hub.add("owner/sentences", {str(path.relative_to(directory)): path.read_bytes() for path in files})
    pipe = fl.pipeline("sentence-embedding", "owner/sentences")
    assert (pipe.pooling, pipe.normalize, pipe.max_length) == ("cls", False, 20)
    hub.add("owner/plain", {"config.json": b"{}"})
    assert sentence_transformers_layout("owner/plain") is None
    broken = json.dumps(modules("Transformer", "Pooling", pooling="../x")).encode()
    hub.add("owner/broken", {"config.json": b"{}", "modules.json": broken})
    with pytest.raises(ValueError, match=r"has its pooling in '../x'"):
        sentence_transformers_layout("owner/broken")
