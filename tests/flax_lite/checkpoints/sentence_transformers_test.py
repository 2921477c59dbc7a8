"""Tests of the files of sentence-transformers: read as by its versions, written, and refused where not supported."""

import json
import re

import pytest

import flax_lite as fl
from flax_lite.checkpoints.sentence_transformers import (
    LENGTH_FILES,
    SentenceLayout,
    read_sentence_transformers,
    sentence_transformers_files,
    write_sentence_transformers,
)
from flax_lite.checkpoints.sources.resolve import sentence_transformers_layout
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import saved
from tests.flax_lite.pipelines import cases

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules.pooling."
BASE = "sentence_transformers.base.modules."
FLAGS = {
    "word_embedding_dimension": 12,
    "pooling_mode_cls_token": True,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}
# Files of each version for a BERT with CLS pooling, normalization and a maximum length of nine. Version 6 stores the
# length in the tokenizer's settings.
VERSIONS = {
    "2": {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": FLAGS,
        "sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": False},
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.2.2", "pytorch": "2.0"}},
        "tokenizer_config.json": {"model_max_length": 5},
    },
    "5": {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": FLAGS
        | {"pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": False, "include_prompt": True},
        "sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "5.1.0"},
            "model_type": "SentenceTransformer",
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "tokenizer_config.json": {"model_max_length": 9},
    },
    "6": {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": BASE + "transformer.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": NEW + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": BASE + "normalize.Normalize"},
        ],
        "1_Pooling/config.json": {"embedding_dimension": 12, "pooling_mode": "cls", "include_prompt": True},
        "2_Normalize/config.json": {
            "module_input_name": "sentence_embedding",
            "module_output_name": "sentence_embedding",
        },
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
        },
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "6.2.0"},
            "model_type": "SentenceTransformer",
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "tokenizer_config.json": {"model_max_length": 9},
    },
}


def write(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return directory


def config(directory, **changes):
    return write(directory, {"config.json": tiny.bert(**changes).to_json_dict()})


def modules(*kinds, prefix=OLD, pooling="1_Pooling", first=""):
    paths = {"Transformer": first, "Pooling": pooling}
    return [
        {"idx": index, "name": str(index), "path": paths.get(kind, f"{index}_{kind}"), "type": prefix + kind}
        for index, kind in enumerate(kinds)
    ]


def layout(directory, listed, pooling=None, **settings):
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "modules.json").write_text(json.dumps(listed))
    if pooling is not None:
        (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if settings:
        (directory / "sentence_bert_config.json").write_text(json.dumps(settings))
    return read_sentence_transformers(directory)


def test_directory_without_modules_has_no_layout(tmp_path):
    assert read_sentence_transformers(tmp_path) is None


def test_old_and_new_names_of_poolings_are_read(tmp_path):
    flags = {"word_embedding_dimension": 12, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    listed = modules("Transformer", "Pooling")
    assert layout(tmp_path, listed, flags) == SentenceLayout("cls", False, None)
    listed = modules("Transformer", "Pooling", "Normalize", prefix=NEW)
    new = {"embedding_dimension": 12, "pooling_mode": "max", "include_prompt": True}
    assert layout(tmp_path, listed, new, max_seq_length=9, do_lower_case=False) == SentenceLayout("max", True, 9)
    assert layout(tmp_path, listed, {"pooling_mode": ["mean"]}).pooling == "mean"
    assert layout(tmp_path, listed, {}).pooling == "mean"


@pytest.mark.parametrize("version", VERSIONS)
def test_files_of_every_version_are_read(version, tmp_path, caplog):
    """Without a warning, and the files to copy are all of them."""
    write(config(tmp_path / "one"), VERSIONS[version])
    assert read_sentence_transformers(tmp_path / "one") == SentenceLayout("cls", True, 9)
    files = sentence_transformers_files(tmp_path / "one")
    assert files.keys() | {"tokenizer_config.json"} == VERSIONS[version].keys()
    assert not caplog.records


# sentence_bert_config.json, tokenizer_config.json, and the resulting length for a model with 16 positions.
LENGTHS = [
    ({}, {}, None),
    ({"max_seq_length": 9}, {"model_max_length": 7}, 9),
    ({"max_seq_length": None}, {"model_max_length": 7}, 7),
    ({"max_seq_length": 514}, {"model_max_length": 7}, 16),
    ({"processing_kwargs": {"text": {"max_length": 514}}}, {}, 16),
    ({}, {"model_max_length": 7}, 7),
    ({}, {"max_len": 7}, 7),
    ({}, {"model_max_length": 7, "max_len": 5}, 7),
    ({}, {"model_max_length": int(1e30)}, None),
    ({}, {"model_max_length": 1e30}, None),
    ({}, {"model_max_length": 512}, None),
    ({}, {"model_max_length": None}, None),
    ({"tokenizer_args": {"model_max_length": 7}}, {"model_max_length": 5}, 7),
    ({"processor_kwargs": {"model_max_length": 7}}, {"model_max_length": 5}, 7),
    ({"tokenizer_args": {"model_max_length": 99}}, {"model_max_length": 5}, None),
    ({"tokenizer_args": {"model_max_length": 7}, "max_seq_length": 7}, {}, 7),
    ({"processing_kwargs": {"text": {"max_length": 6}}, "max_seq_length": 9}, {"model_max_length": 7}, 6),
    ({"processing_kwargs": {"common": {"max_length": 5}, "text": {"max_length": 6}}}, {}, 5),
    ({"processing_kwargs": {"text": {"padding": "max_length", "truncation": True}}}, {"model_max_length": 7}, 7),
    ({"query_length": 4, "document_length": 8}, {"model_max_length": 7}, 7),
]


@pytest.mark.parametrize(("settings", "tokenizer", "length"), LENGTHS)
def test_maximum_length_by_precedence(settings, tokenizer, length, tmp_path):
    config(tmp_path)
    write(tmp_path, {"sentence_bert_config.json": settings, "tokenizer_config.json": tokenizer})
    assert layout(tmp_path, modules("Transformer", "Pooling"), {}).max_length == length


def test_first_existing_settings_file_is_read(tmp_path):
    config(tmp_path)
    for length, name in enumerate(reversed(LENGTH_FILES), start=3):
        write(tmp_path, {name: {"max_seq_length": length}})
        assert layout(tmp_path, modules("Transformer", "Pooling"), {}).max_length == length


# File, content, and a part of the message.
REFUSED = [
    ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case=True"),
    ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task='fill-mask'"),
    ("sentence_bert_config.json", {"module_output_name": "sentence_embedding"}, "module_output_name="),
    ("sentence_bert_config.json", {"modality_config": {"image": {}}}, "does not take texts"),
    (
        "sentence_bert_config.json",
        {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}},
        "method_output_name='pooler_output'",
    ),
    ("sentence_bert_config.json", {"tokenizer_name_or_path": "other"}, "tokenizer_name_or_path="),
    ("sentence_bert_config.json", {"tokenizer_args": {"padding_side": "left"}}, "passes padding_side"),
    ("sentence_bert_config.json", {"config_args": {"is_decoder": True}}, "passes is_decoder"),
    ("sentence_bert_config.json", {"model_kwargs": {"gguf_file": "x"}}, "passes gguf_file"),
    ("sentence_bert_config.json", {"processing_kwargs": {"text": {"add_special_tokens": False}}}, "passes add_special"),
    ("sentence_bert_config.json", {"processing_kwargs": {"text": {"truncation": False}}}, "truncation=False"),
    ("sentence_bert_config.json", {"max_seq_length": 5, "tokenizer_args": {"model_max_length": 6}}, "remove one of"),
    ("sentence_bert_config.json", {"max_seq_length": True}, "max_seq_length=True"),
    ("tokenizer_config.json", {"model_max_length": "9"}, "model_max_length='9'"),
    ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "['cls', 'mean']"),
    ("1_Pooling/config.json", {"pooling_mode": "CLS"}, "['CLS']"),
    ("1_Pooling/config.json", FLAGS | {"pooling_mode_lasttoken": True}, "['cls', 'lasttoken']"),
    ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module_input_name="),
    ("config_sentence_transformers.json", {"truncate_dim": 8}, "truncate_dim=8"),
    ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "model_type='SparseEncoder'"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_settings_that_change_vectors_are_refused_by_name(name, content, message, tmp_path):
    files = {key: value for key, value in VERSIONS["2"].items() if key != "sentence_bert_config.json"}
    write(config(tmp_path), {**files, name: content})
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_sentence_transformers(tmp_path)
    assert str(tmp_path / name) in str(error.value)


def test_unknown_settings_are_named_once(tmp_path, caplog):
    write(config(tmp_path), {**VERSIONS["5"], "sentence_bert_config.json": {"max_seq_length": 9, "novelty": 1}})
    for _ in range(2):
        assert read_sentence_transformers(tmp_path) == SentenceLayout("cls", True, 9)
    (record,) = caplog.records
    assert "novelty" in record.getMessage()


@pytest.mark.parametrize(
    "kinds", [("Dropout",), ("Dropout", "Normalize"), ("Normalize", "Dropout"), ("Dropout", "Dropout")]
)
def test_dropout_is_ignored_and_its_file_copied(kinds, tmp_path):
    """The package needs the file of the module to load the directory."""
    configs = [f"{index}_{kind}/config.json" for index, kind in enumerate(kinds, start=2) if kind == "Dropout"]
    write(config(tmp_path), {name: {"dropout": 0.2} for name in configs})
    found = layout(tmp_path, modules("Transformer", "Pooling", *kinds), FLAGS)
    assert found == SentenceLayout("cls", "Normalize" in kinds, None)
    assert sentence_transformers_files(tmp_path).keys() == {"modules.json", "1_Pooling/config.json", *configs}


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (modules("Transformer", "Pooling", prefix="custom_st."), "lists custom_st.Transformer, custom_st.Pooling"),
        (modules("Transformer", "Dropout", "Pooling"), "lists Transformer, Dropout, Pooling"),
        (modules("Transformer", "Pooling", "LayerNorm"), "lists Transformer, Pooling, LayerNorm"),
        (modules("Transformer", "Normalize", "Pooling"), "lists Transformer, Normalize, Pooling"),
        (modules("Transformer", "Pooling", "Dense"), "lists Transformer, Pooling, Dense; supported are"),
        (modules("Transformer"), "lists Transformer; supported are"),
        ([], "lists nothing"),
        ({"a": 1}, "holds a dict, expected a list"),
        (["a"], "is not a list of modules"),
        (modules("Transformer", "Pooling", first="0_Transformer"), "has its encoder in '0_Transformer'"),
        (modules("Transformer", "Pooling", pooling="../elsewhere"), "has its Pooling in '../elsewhere'"),
        (
            [*modules("Transformer", "Pooling"), {"path": "/etc", "type": f"{OLD}Normalize"}],
            "has its Normalize in '/etc'",
        ),
        ([*modules("Transformer", "Pooling"), {"type": f"{OLD}Dropout"}], "has its Dropout 2 in ''"),
    ],
)
def test_other_modules_are_refused(tmp_path, listed, message):
    with pytest.raises(ValueError, match=message):
        layout(tmp_path, listed, {"pooling_mode": "mean"})


@pytest.mark.parametrize(
    ("pooling", "settings", "message"),
    [
        ({"pooling_mode": "lasttoken"}, {}, r"pools tokens by \['lasttoken'\]; supported is one of mean"),
        ({"pooling_mode": ["mean", "max"]}, {}, r"pools tokens by \['mean', 'max'\]"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, {}, "pools tokens by"),
        ({"pooling_mode": 3}, {}, "pools tokens by 3"),
        ({}, {"max_seq_length": 2}, "max_seq_length=2; expected"),
        ({}, {"max_seq_length": "9"}, "max_seq_length='9'; expected"),
        ({}, {"do_lower_case": True}, "texts are lower-cased before the tokenizer"),
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
def test_round_trip(tmp_path, pooling, normalize):
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


def test_files_are_fetched_from_the_hub(tmp_path, hub):
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
    with pytest.raises(ValueError, match=r"has its Pooling in '../x'"):
        sentence_transformers_layout("owner/broken")
