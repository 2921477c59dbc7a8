"""Tests of the keys of a config.json: read as transformers reads them, or refused by name."""

import json

import pytest

from flax_lite.architecture.registry import config_class, load_config
from tests.flax_lite import tiny

FAMILIES = tuple(tiny.FAMILIES)


def read(family, **changes):
    cls = config_class(family)
    return cls.from_json_dict({**tiny.FAMILIES[family]().to_json_dict(), **changes})


# Values that change the model: families, key, value, a part of the message.
REFUSED = [
    (("bert",), "is_decoder", True, "earlier tokens only"),
    (("bert",), "add_cross_attention", True, "decoder"),
    (("bert", "albert"), "position_embedding_type", "relative_key", "positions"),
    (("bert", "albert"), "position_embedding_type", "relative_key_query", "positions"),
    (("bert", "albert"), "position_embedding_type", "alibi", "positions"),
    (("bert", "albert"), "position_embedding_type", None, "not added"),
    (FAMILIES, "pruned_heads", {"0": [1]}, "heads are removed"),
    (FAMILIES, "quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}, "float32"),
    (FAMILIES, "compression_config", {"format": "pack-quantized"}, "float32"),
    (FAMILIES, "per_layer_config", {"0": {"hidden_size": 4}}, "differ from each other"),
    (FAMILIES, "transformers_weights", "other.safetensors", "another name"),
    (FAMILIES, "configuration_files", ["config.4.0.0.json"], "replaces config.json"),
    (FAMILIES, "alibi_starting_size", 512, "ALiBi"),
    (FAMILIES, "rope_theta", 10000.0, "RoPE"),
    (FAMILIES, "ln_type", "preln", "before attention"),
    (FAMILIES, "layer_norm_type", "rms_norm", "LayerNorm"),
    (FAMILIES, "feed_forward_type", "geglu", "feed-forward"),
    (FAMILIES, "attention_window", [512, 512], "part of the sequence"),
    (FAMILIES, "label2id", {"yes": 0, "no": 1}, "write id2label too"),
    (FAMILIES, "label2id", ["yes", "no"], "must be an object"),
    (FAMILIES, "id2label", {"0": "a", "2": "b"}, "must number its labels"),
    (FAMILIES, "num_labels", 0, "num_labels=0"),
    (FAMILIES, "problem_type", "ranking", "problem_type='ranking'"),
    (FAMILIES, "pad_token_id", 41, "pad_token_id=41 must lie between -41 and 40"),
    (("distilbert",), "hidden_size", None, "hidden_size=None must be a whole number"),
    (("distilbert",), "num_attention_heads", 5, "not a multiple"),
]


@pytest.mark.parametrize(("families", "key", "value", "message"), REFUSED)
def test_settings_that_change_the_model_are_refused_by_name(families, key, value, message, tmp_path):
    for family in families:
        with pytest.raises(ValueError, match=message):
            read(family, **{key: value})
        values = {**tiny.FAMILIES[family]().to_json_dict(), key: value}
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=key) as error:
            load_config(tmp_path)
        assert str(error.value).count(str(tmp_path)) == 1


# Refused keys with harmless values, and inert keys.
HARMLESS = {
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
    "quantization_config": None,
    "transformers_weights": "model.safetensors",
    "ln_type": "postln",
    "layer_norm_type": "layer_norm",
    "sliding_window": None,
    "chunk_size_feed_forward": 3,
    "use_cache": True,
    "return_dict": False,
    "torchscript": True,
    "output_hidden_states": True,
    "output_attentions": True,
    "torch_dtype": "float16",
    "dtype": "bfloat16",
    "auto_map": {"AutoModel": "modeling_x.X"},
    "task_specific_params": {"summarization": {"prefix": "x"}},
    "tokenizer_class": "BertTokenizer",
    "is_encoder_decoder": True,
    "tie_encoder_decoder": True,
    "directionality": "bidi",
    "pooler_type": "first_token_transform",
    "net_structure_type": 0,
    "gradient_checkpointing": True,
    "adapters": {"adapters": {}, "config_map": {}},
    "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
    "transformers.js_config": {"dtype": "q8"},
    "_num_labels": 5,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_inert_settings_are_kept_without_a_warning(family, caplog):
    assert read(family, **HARMLESS) == tiny.FAMILIES[family]()
    assert read(family, **HARMLESS).extra == HARMLESS
    assert not caplog.records


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_keys_are_kept_and_named_once(family, tmp_path, caplog):
    values = {**tiny.FAMILIES[family]().to_json_dict(), "layer_norm_epsilon": 0.1, "my_notes": "x"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    for _ in range(2):
        config = load_config(tmp_path)
    assert config.extra == {"layer_norm_epsilon": 0.1, "my_notes": "x"}
    (record,) = caplog.records
    assert f"{tmp_path / 'config.json'} has unknown keys" in record.getMessage()
    assert "layer_norm_epsilon, my_notes" in record.getMessage()


def _only_4(*values):
    """Returns a case for transformers 4.57; version 5 raises, or keeps the number of labels and loses their names."""
    return pytest.param(*values, marks=pytest.mark.reference)


# Keys added to a tiny model's config, which must be read as by transformers.
READ = [
    (("distilbert",), {"hidden_size": 24}),
    (("distilbert",), {"hidden_size": 24, "dim": 12}),
    (("distilbert",), {"num_hidden_layers": 5}),
    (("distilbert",), {"num_hidden_layers": 5, "n_layers": 2}),
    (("distilbert",), {"num_attention_heads": 6}),
    (("distilbert",), {"num_attention_heads": 6, "n_heads": 4, "n_layers": 1}),
    # These keys are not synonyms.
    (("distilbert",), {"tie_weights_": False}),
    (("distilbert",), {"tie_weights_": False, "tie_word_embeddings": False}),
    (("distilbert",), {"intermediate_size": 7, "hidden_dropout_prob": 0.7, "hidden_act": "relu"}),
    (("bert",), {"classifier_dropout_prob": 0.7, "dim": 24, "n_layers": 7}),
    (("albert",), {"classifier_dropout": 0.7}),
    (("bert", "albert"), {"layer_norm_epsilon": 0.1}),
    (FAMILIES, {"num_labels": 3}),
    _only_4(FAMILIES, {"num_labels": None, "id2label": None, "label2id": None}),
    (FAMILIES, {"id2label": None, "num_labels": 4}),
    _only_4(FAMILIES, {"id2label": {"0": "a", "1": "b", "2": "c"}, "num_labels": 5}),
    (FAMILIES, {"id2label": {"1": "b", "0": "a"}, "label2id": {"b": 0, "a": 1}}),
    (FAMILIES, {"id2label": {"0": "a"}, "problem_type": "regression"}),
    (FAMILIES, {"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}),
    (FAMILIES, {"num_labels": 3, "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}}),
    (FAMILIES, {"pad_token_id": None, "problem_type": None, "architectures": None}),
    (FAMILIES, {"_num_labels": 7}),
]
_SAME = ("num_labels", "id2label", "problem_type", "pad_token_id")


@pytest.mark.compat
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("families", "changes"), READ)
def test_keys_are_read_as_transformers_reads_them(families, changes):
    """Both read the same fields from a config.json, and from the one that is written again."""
    transformers = pytest.importorskip("transformers")
    for family in families:
        cls = config_class(family)
        given = {**tiny.FAMILIES[family]().to_json_dict(), **changes}
        config = cls.from_json_dict(given)
        names = {**{name: name for name in _SAME}, **cls.json_names}
        for values in (given, config.to_json_dict()):
            reference = getattr(transformers, cls.__name__).from_dict(dict(values))
            # Not every version of transformers has every attribute.
            fields = {field: getattr(reference, name) for field, name in names.items() if hasattr(reference, name)}
            assert {field: getattr(config, field) for field in fields} == fields
        again = cls.from_json_dict(json.loads(json.dumps(config.to_json_dict())))
        assert (again, again.extra) == (config, config.extra)
        assert not cls.json_synonyms.keys() & config.to_json_dict().keys()


@pytest.mark.compat
@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_that_transformers_writes_is_known(family):
    transformers = pytest.importorskip("transformers")
    cls = config_class(family)
    written = getattr(transformers, cls.__name__)(num_labels=3, torchscript=True).to_dict()
    assert not written.keys() - cls.json_table().keys()
    assert all(row.why or row.use == "used" for row in cls.json_table().values())
