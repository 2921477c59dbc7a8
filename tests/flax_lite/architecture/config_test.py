"""Tests of the architecture configuration: values, equality, and reading and writing Hugging Face's config.json."""

import dataclasses
import json

import pytest

from flax_lite.architecture.registry import load_config
from flax_lite.families.albert import AlbertConfig
from flax_lite.families.bert import BertConfig
from flax_lite.families.distilbert import DistilBertConfig
from tests.flax_lite import tiny

# albert-base-v2's config.json on the hub, with its four keys that no code reads (huggingface.co/albert/albert-base-v2),
# and a BERT and a DistilBERT in which every value differs from the default.
ALBERT_JSON = {
    "architectures": ["AlbertForMaskedLM"],
    "attention_probs_dropout_prob": 0,
    "bos_token_id": 2,
    "classifier_dropout_prob": 0.1,
    "down_scale_factor": 1,
    "embedding_size": 128,
    "eos_token_id": 3,
    "gap_size": 0,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "inner_group_num": 1,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "albert",
    "net_structure_type": 0,
    "num_attention_heads": 12,
    "num_hidden_groups": 1,
    "num_hidden_layers": 12,
    "num_memory_blocks": 0,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30000,
}
BERT_JSON = {
    "architectures": ["BertForSequenceClassification"],
    "attention_probs_dropout_prob": 0.11,
    "classifier_dropout": 0.12,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.13,
    "hidden_size": 24,
    "id2label": {"0": "no", "1": "maybe", "2": "yes"},
    "initializer_range": 0.01,
    "intermediate_size": 40,
    "label2id": {"no": 0, "maybe": 1, "yes": 2},
    "layer_norm_eps": 1e-11,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 5,
    "pad_token_id": 7,
    "position_embedding_type": "absolute",
    "problem_type": "single_label_classification",
    "tie_word_embeddings": False,
    "transformers_version": "4.57.6",
    "type_vocab_size": 3,
    "vocab_size": 99,
}
DISTILBERT_JSON = {
    "activation": "relu",
    "architectures": ["DistilBertForQuestionAnswering"],
    "attention_dropout": 0.11,
    "dim": 24,
    "dropout": 0.12,
    "hidden_dim": 40,
    "initializer_range": 0.01,
    "max_position_embeddings": 64,
    "model_type": "distilbert",
    "n_heads": 4,
    "n_layers": 5,
    "output_past": True,
    "pad_token_id": 7,
    "qa_dropout": 0.13,
    "seq_classif_dropout": 0.14,
    "sinusoidal_pos_embds": True,
    "tie_weights_": True,
    "tie_word_embeddings": False,
    "vocab_size": 99,
}
JSON_BY_FAMILY = {
    "albert": (AlbertConfig, ALBERT_JSON),
    "bert": (BertConfig, BERT_JSON),
    "distilbert": (DistilBertConfig, DISTILBERT_JSON),
}


def write_json(path, values):
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_albert_json_equals_the_preset():
    config = AlbertConfig.from_json_dict(ALBERT_JSON)
    assert config == AlbertConfig.from_preset("albert-base-v2", architectures=("AlbertForMaskedLM",))
    unread = (
        "down_scale_factor",
        "gap_size",
        "net_structure_type",
        "num_memory_blocks",
        "bos_token_id",
        "eos_token_id",
    )
    assert config.extra == {key: ALBERT_JSON[key] for key in unread}


def test_bert_json_sets_every_field():
    expected = BertConfig(
        vocab_size=99,
        hidden_size=24,
        num_hidden_layers=5,
        num_attention_heads=4,
        intermediate_size=40,
        hidden_act="relu",
        hidden_dropout_prob=0.13,
        attention_probs_dropout_prob=0.11,
        classifier_dropout_prob=0.12,
        max_position_embeddings=64,
        type_vocab_size=3,
        initializer_range=0.01,
        layer_norm_eps=1e-11,
        tie_word_embeddings=False,
        pad_token_id=7,
        labels=("no", "maybe", "yes"),
        problem_type="single_label_classification",
        architectures=("BertForSequenceClassification",),
    )
    config = BertConfig.from_json_dict(BERT_JSON)
    assert config == expected
    assert config.extra == {"position_embedding_type": "absolute", "transformers_version": "4.57.6"}
    assert (config.embedding_size, config.num_physical_layers, config.num_labels) == (24, 5, 3)


def test_distilbert_json_sets_every_field():
    expected = DistilBertConfig(
        vocab_size=99,
        hidden_size=24,
        num_hidden_layers=5,
        num_attention_heads=4,
        intermediate_size=40,
        hidden_act="relu",
        hidden_dropout_prob=0.12,
        attention_probs_dropout_prob=0.11,
        classifier_dropout_prob=0.14,
        qa_dropout_prob=0.13,
        max_position_embeddings=64,
        initializer_range=0.01,
        sinusoidal_positions=True,
        tie_word_embeddings=False,
        pad_token_id=7,
        architectures=("DistilBertForQuestionAnswering",),
    )
    config = DistilBertConfig.from_json_dict(DISTILBERT_JSON)
    assert config == expected
    assert config.extra == {"output_past": True}


@pytest.mark.parametrize("family", JSON_BY_FAMILY)
def test_every_key_that_was_read_is_written(family):
    """Unknown keys too; only `tie_weights_` is dropped, which no code reads and which contradicts another key."""
    cls, values = JSON_BY_FAMILY[family]
    written = cls.from_json_dict(values).to_json_dict()
    assert "tie_weights_" not in written
    expected = {key: value for key, value in values.items() if key != "tie_weights_"}
    assert {key: written.get(key) for key in expected} == expected
    assert json.loads(json.dumps(written)) == written


@pytest.mark.parametrize("family", JSON_BY_FAMILY)
def test_json_round_trip_is_the_same_config(family):
    cls, values = JSON_BY_FAMILY[family]
    for config in (
        cls.from_json_dict(values),
        tiny.FAMILIES[family](),
        tiny.FAMILIES[family](labels=("a", "b", "c"), problem_type="multi_label_classification"),
        tiny.FAMILIES[family](tie_word_embeddings=False, classifier_dropout_prob=0.25),
    ):
        again = cls.from_json_dict(json.loads(json.dumps(config.to_json_dict())))
        assert again == config
        assert again.extra == config.extra


def test_keys_of_another_family_are_unknown():
    """DistilBERT has other names for most fields: a key of another family sets nothing and is kept."""
    config = DistilBertConfig.from_json_dict(
        {"model_type": "distilbert", "dim": 24, "n_heads": 4, "type_vocab_size": 2}
    )
    assert (config.hidden_size, config.type_vocab_size, config.extra) == (24, 0, {"type_vocab_size": 2})
    names = set(DistilBertConfig().to_json_dict())
    assert not names & {
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "type_vocab_size",
    }


def test_missing_json_keys_mean_the_family_defaults():
    for cls, _ in JSON_BY_FAMILY.values():
        assert cls.from_json_dict({"model_type": cls.model_type}) == cls()


def test_labels_from_json():
    assert BertConfig.from_json_dict({"num_labels": 3}).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    unordered = BertConfig.from_json_dict({"id2label": {"2": "c", "0": "a", "1": "b"}})
    assert unordered.labels == ("a", "b", "c")
    assert unordered.id2label == {0: "a", 1: "b", 2: "c"}
    assert "id2label" not in BertConfig().to_json_dict()
    with pytest.raises(ValueError, match=r"0\.\.1.*\[0, 2\]"):
        BertConfig.from_json_dict({"id2label": {"0": "a", "2": "c"}})


def test_json_of_another_family_is_refused():
    with pytest.raises(ValueError, match=r"'bert'.*AlbertConfig.*'albert'"):
        AlbertConfig.from_json_dict(BERT_JSON)


def test_load_config_reads_a_file_or_its_directory(tmp_path):
    for family, (cls, values) in JSON_BY_FAMILY.items():
        directory = tmp_path / family
        directory.mkdir()
        file = write_json(directory / "config.json", values)
        assert load_config(file) == load_config(directory) == cls.from_json_dict(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected an object"),
        ("{}", "model_type"),
        ('{"vocab_size": 3, "hidden_size": 8}', "model_type"),
        ('{"model_type": "t5"}', "'t5'.*albert, bert, distilbert"),
    ],
)
def test_load_config_names_the_problem(tmp_path, content, message):
    file = tmp_path / "config.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_config(file)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_configs_are_hashable_by_value(family):
    """A config is a static argument of compiled programs: equal configs have equal hashes, and others differ."""
    make = tiny.FAMILIES[family]
    assert make() == make()
    assert hash(make()) == hash(make())
    changes = {"hidden_size": 24, "hidden_act": "relu", "labels": ("a",), "hidden_dropout_prob": 0.2, "pad_token_id": 3}
    variants = {make(), *(make(**{name: value}) for name, value in changes.items())}
    assert len(variants) == 1 + len(changes)
    unknown_keys = make().replace(extra={"anything": ["unhashable"]})
    assert (unknown_keys, hash(unknown_keys)) == (make(), hash(make()))


def test_families_of_equal_sizes_differ():
    assert tiny.bert() != tiny.distilbert()


def test_config_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny.albert().hidden_size = 5  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_replace_keeps_dependent_fields_right(family):
    """BERT's and DistilBERT's embedding width and layer count follow the width and the depth."""
    changed = tiny.FAMILIES[family]().replace(hidden_size=24, num_hidden_layers=4)
    assert changed.embedding_size == (8 if family == "albert" else 24)
    assert changed.num_physical_layers == (1 if family == "albert" else 4)


@pytest.mark.parametrize(
    ("layers", "groups", "inner", "sequence"),
    [
        (4, 1, 1, (0, 0, 0, 0)),
        (4, 4, 1, (0, 1, 2, 3)),
        (4, 2, 1, (0, 0, 1, 1)),
        (5, 2, 1, (0, 0, 0, 1, 1)),
        (3, 1, 2, (0, 1, 0, 1, 0, 1)),
        (4, 2, 2, (0, 1, 0, 1, 2, 3, 2, 3)),
        (13, 4, 1, (0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3)),
        # 9 / (18 / 14) is 7 in exact arithmetic and 6.999... in floating point (as in Hugging Face): layer 9 is in
        # group 6.
        (18, 14, 1, tuple(int(layer / (18 / 14)) for layer in range(18))),
    ],
)
def test_layer_sequence(layers, groups, inner, sequence):
    config = tiny.albert(num_hidden_layers=layers, num_hidden_groups=groups, inner_group_num=inner)
    assert config.layer_sequence() == sequence
    assert config.num_physical_layers == groups * inner


def test_layer_sequence_of_unshared_families():
    for make in (tiny.bert, tiny.distilbert):
        assert make(num_hidden_layers=5).layer_sequence() == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size=12.*num_attention_heads=5"),
        ({"num_attention_heads": 0}, "num_attention_heads=0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers=0"),
        ({"hidden_act": "swish"}, "'swish'.*gelu, gelu_new, relu"),
        ({"num_hidden_groups": 4}, "num_hidden_groups=4.*num_hidden_layers=3"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob=1\.0"),
        ({"attention_probs_dropout_prob": -0.1}, r"attention_probs_dropout_prob=-0\.1"),
        ({"classifier_dropout_prob": 10}, "classifier_dropout_prob=10"),
    ],
)
def test_impossible_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.albert(**changes)


def test_fields_a_family_does_not_have_cannot_be_passed():
    with pytest.raises(TypeError, match="embedding_size"):
        BertConfig(embedding_size=8)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="type_vocab_size"):
        DistilBertConfig(type_vocab_size=2)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("name", "changes", "rates"),
    [
        ("albert", {"classifier_dropout_prob": 0.3}, (0.3, 0.3, 0.0)),
        ("albert", {"classifier_dropout_prob": None}, (0.1, 0.1, 0.0)),
        ("bert", {"classifier_dropout_prob": None}, (0.1, 0.1, 0.0)),
        ("bert", {"classifier_dropout_prob": 0.3}, (0.3, 0.3, 0.0)),
        ("distilbert", {"classifier_dropout_prob": 0.3, "qa_dropout_prob": 0.4}, (0.3, 0.1, 0.4)),
    ],
)
def test_head_dropout_rates(name, changes, rates):
    """Rates before a pooled classifier, a token classifier and a span head, as in transformers' modeling files."""
    config = tiny.FAMILIES[name](**changes)
    assert (config.pooled_dropout_prob, config.token_dropout_prob, config.span_dropout_prob) == rates


@pytest.mark.compat
@pytest.mark.parametrize("family", ["AlbertConfig", "BertConfig", "DistilBertConfig"])
def test_defaults_equal_hugging_face(family):
    """Hugging Face omits defaults from config.json, so a missing key must have the same meaning here."""
    transformers = pytest.importorskip("transformers")
    cls = {"AlbertConfig": AlbertConfig, "BertConfig": BertConfig, "DistilBertConfig": DistilBertConfig}[family]
    values = getattr(transformers, family)().to_dict()
    assert set(cls.json_names.values()) - {"problem_type", "tie_word_embeddings"} <= set(values)
    assert cls.from_json_dict(values) == cls()


@pytest.mark.compat
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_round_trip_through_hugging_face(family):
    """A config written here, read and written by Hugging Face's class, and read again, is equal."""
    transformers = pytest.importorskip("transformers")
    cls, values = JSON_BY_FAMILY[family]
    for config in (cls.from_json_dict(values), tiny.FAMILIES[family](labels=("a", "b", "c"))):
        reference = getattr(transformers, cls.__name__).from_dict(config.to_json_dict())
        assert cls.from_json_dict(json.loads(reference.to_json_string(use_diff=False))) == config
        assert cls.from_json_dict(json.loads(reference.to_json_string(use_diff=True))) == config


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_load_config_infers_a_missing_model_type(family, tmp_path):
    config = tiny.FAMILIES[family]()
    values = {name: value for name, value in config.to_json_dict().items() if name != "model_type"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert load_config(tmp_path) == config
