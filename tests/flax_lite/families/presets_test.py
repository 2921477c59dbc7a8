"""Tests of the presets: parameter counts of every model, and hyperparameters that counts do not determine."""

import functools

import pytest
from flax import nnx

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import config_class, preset
from flax_lite.families.albert import AlbertConfig
from flax_lite.families.bert import BertConfig
from flax_lite.families.distilbert import DistilBertConfig
from flax_lite.models.params import abstract_params, num_parameters
from tests.flax_lite import tiny

FAMILIES = (AlbertConfig, BertConfig, DistilBertConfig)
PRESETS = [(family, name) for family in FAMILIES for name in family.presets]

# Counts of Hugging Face's Flax classes (transformers 4.57) under jax.eval_shape; those of the encoder agree with the
# metadata of keras-hub's presets. v1 and v2 differ in dropout and activation only.
ALBERT_COUNTS = {
    "base": {
        "Encoder": 11_683_584,
        "PreTraining": 11_813_810,
        "MaskedLM": 11_221_680,
        "QuestionAnswering": 11_094_530,
        "TokenClassification": 11_094_530,
        "SequenceClassification": 11_685_122,
        "MultipleChoice": 11_684_353,
    },
    "large": {
        "Encoder": 17_683_968,
        "PreTraining": 17_847_474,
        "MaskedLM": 16_795_824,
        "QuestionAnswering": 16_636_418,
        "TokenClassification": 16_636_418,
        "SequenceClassification": 17_686_018,
        "MultipleChoice": 17_684_993,
    },
    "xlarge": {
        "Encoder": 58_724_864,
        "PreTraining": 59_021_490,
        "MaskedLM": 54_821_040,
        "QuestionAnswering": 54_532_610,
        "TokenClassification": 54_532_610,
        "SequenceClassification": 58_728_962,
        "MultipleChoice": 58_726_913,
    },
    "xxlarge": {
        "Encoder": 222_595_584,
        "PreTraining": 223_158_450,
        "MaskedLM": 206_368_944,
        "QuestionAnswering": 205_822_466,
        "TokenClassification": 205_822_466,
        "SequenceClassification": 222_603_778,
        "MultipleChoice": 222_599_681,
    },
}
# Encoder with pooler, counted in transformers 4.57; multilingual-uncased is base-uncased with another vocabulary.
BERT_ENCODER_COUNTS = {
    "bert-tiny": 4_385_920,
    "bert-mini": 11_170_560,
    "bert-small": 28_763_648,
    "bert-medium": 41_373_184,
    "bert-base-uncased": 109_482_240,
    "bert-base-cased": 108_310_272,
    "bert-base-multilingual-uncased": 109_482_240 + (105_879 - 30_522) * 768,
    "bert-base-multilingual-cased": 177_853_440,
    "bert-base-chinese": 102_267_648,
    "bert-large-uncased": 335_141_888,
    "bert-large-cased": 333_579_264,
}
# Encoder, and encoder with tied masked-LM head, counted in transformers 4.57.
DISTILBERT_COUNTS = {
    "distilbert-base-uncased": (66_362_880, 66_985_530),
    "distilbert-base-cased": (65_190_912, 65_812_036),
    "distilbert-base-multilingual-cased": (134_734_080, 135_445_755),
}
# Counts of Hugging Face's classes (transformers 4.57), which the formulas below must give too.
BERT_BASE_REFERENCE = {"PreTraining": 110_106_428, "MaskedLM": 109_514_298}
DISTILBERT_BASE_REFERENCE = {
    "MaskedLM": 66_985_530,
    "SequenceClassification": 66_955_010,
    "QuestionAnswering": 66_364_418,
    "TokenClassification": 66_364_418,
}

# Layers, D, N, F, activation, dropout, from the config.json of huggingface.co/albert/albert-*; xlarge has 16 heads of
# width 128 there.
ALBERT_HYPERPARAMETERS = {
    "albert-base-v1": (12, 768, 12, 3072, "gelu", 0.1),
    "albert-large-v1": (24, 1024, 16, 4096, "gelu", 0.1),
    "albert-xlarge-v1": (24, 2048, 16, 8192, "gelu", 0.1),
    "albert-xxlarge-v1": (12, 4096, 64, 16384, "gelu", 0.0),
    "albert-base-v2": (12, 768, 12, 3072, "gelu_new", 0.0),
    "albert-large-v2": (24, 1024, 16, 4096, "gelu_new", 0.0),
    "albert-xlarge-v2": (24, 2048, 16, 8192, "gelu_new", 0.0),
    "albert-xxlarge-v2": (12, 4096, 64, 16384, "gelu_new", 0.0),
}
BERT_HYPERPARAMETERS = {
    "bert-tiny": (2, 128, 2, 512),
    "bert-mini": (4, 256, 4, 1024),
    "bert-small": (4, 512, 8, 2048),
    "bert-medium": (8, 512, 8, 2048),
    "bert-base-uncased": (12, 768, 12, 3072),
    "bert-base-cased": (12, 768, 12, 3072),
    "bert-base-multilingual-uncased": (12, 768, 12, 3072),
    "bert-base-multilingual-cased": (12, 768, 12, 3072),
    "bert-base-chinese": (12, 768, 12, 3072),
    "bert-large-uncased": (24, 1024, 16, 4096),
    "bert-large-cased": (24, 1024, 16, 4096),
}


@functools.cache
def count(model: str, config: EncoderConfig) -> int:
    return num_parameters(abstract_params(lambda: tiny.MODELS[model](config, rngs=nnx.Rngs(0))))


def masked_lm_head(width: int, embedding: int, vocabulary: int) -> int:
    """Parameters of a Dense D -> E, a LayerNorm and one bias per token; the decoder is the embedding table."""
    return width * embedding + embedding + 2 * embedding + vocabulary


def expected_counts(config: EncoderConfig, name: str) -> dict[str, int]:
    """Returns the expected counts of a preset's models: from the tables, or the encoder's plus the size of the head."""
    if isinstance(config, AlbertConfig):
        return ALBERT_COUNTS[name.split("-")[1]]
    width = config.hidden_size
    pooler, two, one = width * width + width, 2 * width + 2, width + 1
    if isinstance(config, BertConfig):
        pooled = BERT_ENCODER_COUNTS[name]
        bare = pooled - pooler
        masked_lm = masked_lm_head(width, width, config.vocab_size)
        pretraining = {"PreTraining": pooled + masked_lm + two}
        encoder = pooled
    else:
        encoder = bare = DISTILBERT_COUNTS[name][0]
        pooled = bare + pooler  # `pre_classifier` has the pooler's shape.
        masked_lm = DISTILBERT_COUNTS[name][1] - bare
        pretraining = {}
    return {
        "Encoder": encoder,
        **pretraining,
        "MaskedLM": bare + masked_lm,
        "QuestionAnswering": bare + two,
        "TokenClassification": bare + two,
        "SequenceClassification": pooled + two,
        "MultipleChoice": pooled + one,
    }


def heads_counted(name: str) -> set[str]:
    """Returns the models to count for a preset: all at base size, elsewhere the largest.

    The size of a head depends on widths and vocabulary only, which the largest model covers too.
    """
    family = preset(name).model_type
    everything = name in ("albert-base-v2", "bert-base-uncased", "distilbert-base-uncased")
    return set(tiny.heads_of(family)) if everything else {"MaskedLM" if family == "distilbert" else "PreTraining"}


@pytest.mark.parametrize(("family", "name"), PRESETS, ids=[name for _, name in PRESETS])
def test_preset_parameter_counts(family, name):
    config = family.from_preset(name)
    expected = expected_counts(config, name)
    assert set(expected) == set(tiny.heads_of(config.model_type))
    models = heads_counted(name)
    assert {model: count(model, config) for model in models} == {model: expected[model] for model in models}


@pytest.mark.slow  # traces every model of every preset, 22 times 7; the default run counts the largest of each
@pytest.mark.parametrize(("family", "name"), PRESETS, ids=[name for _, name in PRESETS])
def test_preset_parameter_counts_of_every_model(family, name):
    config = family.from_preset(name)
    expected = expected_counts(config, name)
    assert {model: count(model, config) for model in expected} == expected


@pytest.mark.parametrize(
    ("name", "reference"),
    [("bert-base-uncased", BERT_BASE_REFERENCE), ("distilbert-base-uncased", DISTILBERT_BASE_REFERENCE)],
)
def test_head_formulas_equal_counts_of_hugging_face(name, reference):
    expected = expected_counts(preset(name), name)
    assert {model: expected[model] for model in reference} == reference


def test_untied_decoder_adds_one_matrix():
    """Untied DistilBERT has 90,426,426 parameters in transformers 4.57: the decoder is a separate D x V matrix."""
    assert count("MaskedLM", DistilBertConfig(tie_word_embeddings=False)) == 90_426_426


def test_groups_multiply_physical_layers():
    """ALBERT-base with two groups of two inner layers has 4 physical layers and 32,947,200 parameters."""
    config = AlbertConfig.from_preset("albert-base-v2", num_hidden_groups=2, inner_group_num=2)
    assert count("Encoder", config) == 32_947_200


def test_label_count_changes_classifiers_only():
    """Each further label adds a column of D weights and a bias to the classifier and nothing else."""
    config = AlbertConfig.from_preset("albert-base-v2")
    five = config.replace(labels=tuple("abcde"))
    for model in ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"):
        added = 3 * 769 if model in ("SequenceClassification", "TokenClassification") else 0
        assert count(model, five) - count(model, config) == added, model


@pytest.mark.parametrize("name", ALBERT_HYPERPARAMETERS)
def test_albert_preset_hyperparameters(name):
    config = AlbertConfig.from_preset(name)
    dropout = config.hidden_dropout_prob
    assert dropout == config.attention_probs_dropout_prob
    found = (
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.hidden_act,
        dropout,
    )
    assert found == ALBERT_HYPERPARAMETERS[name]
    assert (config.embedding_size, config.vocab_size, config.num_physical_layers) == (128, 30000, 1)
    assert (config.classifier_dropout_prob, config.initializer_range, config.layer_norm_eps) == (0.1, 0.02, 1e-12)


@pytest.mark.parametrize("name", BERT_HYPERPARAMETERS)
def test_bert_preset_hyperparameters(name):
    config = BertConfig.from_preset(name)
    found = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    assert found == BERT_HYPERPARAMETERS[name]
    assert config.num_physical_layers == config.num_hidden_layers
    assert (config.hidden_act, config.hidden_dropout_prob, config.attention_probs_dropout_prob) == ("gelu", 0.1, 0.1)


@pytest.mark.parametrize("name", DistilBertConfig.presets)
def test_distilbert_preset_hyperparameters(name):
    config = DistilBertConfig.from_preset(name)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (6, 768, 12)
    assert (config.intermediate_size, config.hidden_act, config.sinusoidal_positions) == (3072, "gelu", False)
    rates = (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.classifier_dropout_prob)
    assert (*rates, config.qa_dropout_prob) == (0.1, 0.1, 0.2, 0.1)


def test_tables_cover_every_preset():
    """Every preset has a row in the tables above."""
    assert set(AlbertConfig.presets) == set(ALBERT_HYPERPARAMETERS)
    assert set(BertConfig.presets) == set(BERT_ENCODER_COUNTS) == set(BERT_HYPERPARAMETERS)
    assert set(DistilBertConfig.presets) == set(DISTILBERT_COUNTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_preset_names_those_that_exist(family):
    with pytest.raises(ValueError, match="albert-huge") as caught:
        family.from_preset("albert-huge")
    assert all(name in str(caught.value) for name in family.presets)


def test_preset_of_any_family_by_name():
    for family, name in PRESETS:
        assert preset(name) == family.from_preset(name)
        assert type(preset(name)) is family
    with pytest.raises(ValueError, match="gpt2") as caught:
        preset("gpt2")
    assert all(name in str(caught.value) for _, name in PRESETS)


def test_preset_changes_win():
    config = AlbertConfig.from_preset("albert-base-v1", hidden_dropout_prob=0.3, num_hidden_layers=4)
    assert (config.hidden_dropout_prob, config.num_hidden_layers, config.hidden_size) == (0.3, 4, 768)


def test_config_class_by_model_type():
    assert [config_class(family.model_type) for family in FAMILIES] == list(FAMILIES)
    with pytest.raises(ValueError, match=r"'gpt2'.*albert, bert, distilbert"):
        config_class("gpt2")
