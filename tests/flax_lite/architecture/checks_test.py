"""Tests of the checks of a config.json: wrong types, values out of range, and implausible sizes."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from flax_lite.architecture.registry import load_config
from tests.flax_lite import tiny

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "list": ({"vocab_size": [41]}, r"vocab_size=\[41\] must be a whole number"),
    "text": ({"hidden_size": "12"}, "hidden_size='12' must be a whole number"),
    "float": ({"num_hidden_layers": 3.0}, "num_hidden_layers=3.0 must be a whole number"),
    "true": ({"num_attention_heads": True}, "num_attention_heads=True must be a whole number"),
    "null": ({"intermediate_size": None}, "intermediate_size=None must be a whole number"),
    "zero": ({"vocab_size": 0}, "vocab_size=0 must lie between 1 and 2147483647"),
    "negative": ({"max_position_embeddings": -1}, "max_position_embeddings=-1 must lie"),
    "negative token types": ({"type_vocab_size": -2}, "type_vocab_size=-2 must lie between 0"),
    "beyond 32 bits": ({"vocab_size": 2**31}, "vocab_size=2147483648 must lie"),
    "thousands of digits": ({"hidden_size": 10**4000}, r"hidden_size=10{99}\.\.\. must lie"),
    "NaN": ({"layer_norm_eps": math.nan}, "layer_norm_eps=nan must lie between 0"),
    "infinity": ({"initializer_range": math.inf}, "initializer_range=inf must lie between 0"),
    "text as rate": ({"hidden_dropout_prob": "0.1"}, "hidden_dropout_prob='0.1' must be a number"),
    "NaN as rate": ({"hidden_dropout_prob": math.nan}, "hidden_dropout_prob=nan must lie in"),
    "true as rate": ({"attention_probs_dropout_prob": True}, "attention_probs_dropout_prob=True must be a number"),
    "list as rate": ({"classifier_dropout": [0.1]}, r"classifier_dropout_prob=\[0.1\] must be a number or null"),
    "number as bool": ({"tie_word_embeddings": 1}, "tie_word_embeddings=1 must be true or false"),
    "list as activation": ({"hidden_act": ["gelu"]}, r"hidden_act=\['gelu'\] must be text"),
    "number as problem": ({"problem_type": 3}, "problem_type=3 must be text or null"),
    "text as architectures": ({"architectures": "BertModel"}, "architectures='BertModel' must be a list"),
    "numbers as architectures": ({"architectures": [1]}, r"architectures=\[1\] must be a list"),
    "list as labels": ({"id2label": ["a", "b"]}, r"id2label=\['a', 'b'\] must be an object"),
    "ids from 1": ({"id2label": {"1": "a", "2": "b"}}, r"0\.\.1, got ids \[1, 2\]"),
    "ids that are no numbers": ({"id2label": {"zero": "a"}}, r"0\.\.0, got ids \[zero\]"),
    "one id written twice": ({"id2label": {"0": "a", "00": "b"}}, r"0\.\.1, got ids \[0, 00\]"),
    "objects as labels": ({"id2label": {"0": {}}}, r"by text, got \(\{\},\)"),
    "no labels": ({"num_labels": 0}, "num_labels=0 must lie between 1 and 65536"),
    "text as number of labels": ({"num_labels": "3"}, "num_labels='3' must be a whole number"),
    "list as family": ({"model_type": ["bert"]}, "names no model_type"),
    "absurd family": ({"model_type": "b" * 10**6}, r"model_type 'b{99}\.\.\. is not supported"),
    "too many layers": (
        {"num_hidden_layers": 4097},
        "num_hidden_layers .*=4097 must lie between 1 and 4096",
    ),
    "absurd number of labels": ({"num_labels": 10**12}, "num_labels=1000000000000 must lie"),
    "absurd number of layers": ({"num_hidden_layers": 2**31 - 1}, "=2147483647 must lie between 1 and 4096"),
}


def write(directory: Path, **changes: Any) -> Path:
    values = {**tiny.bert().to_json_dict(), **changes}
    (directory / "config.json").write_text(json.dumps(values))
    return directory


@pytest.mark.parametrize("name", WRONG)
def test_invalid_value_is_refused_by_name_without_allocating(name: str, tmp_path: Path) -> None:
    changes, message = WRONG[name]
    write(tmp_path, **changes)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            load_config(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    assert str(tmp_path / "config.json") in str(caught.value)
    assert len(str(caught.value)) < 500


def test_number_of_sinusoidal_positions_is_bounded() -> None:
    with pytest.raises(ValueError, match="max_position_embeddings=65537 must lie between 1 and 65536"):
        tiny.distilbert(sinusoidal_positions=True, max_position_embeddings=65537)
    assert tiny.distilbert(max_position_embeddings=65537).max_position_embeddings == 65537


def test_limit_on_layers_counts_all_applications() -> None:
    with pytest.raises(ValueError, match="inner_group_num=6000 must lie"):
        tiny.albert(num_hidden_layers=100, inner_group_num=60)
    assert len(tiny.albert(num_hidden_layers=64, inner_group_num=64).layer_sequence()) == 4096


def test_values_of_published_files_are_accepted(tmp_path: Path) -> None:
    """Whole numbers as rates (albert-base-v2), no padding token, null for optional fields, numbers as labels."""
    config = load_config(
        write(
            tmp_path,
            hidden_dropout_prob=0,
            pad_token_id=None,
            classifier_dropout=None,
            architectures=None,
            problem_type=None,
            id2label={"1": 7, "0": "no"},
            unknown=[math.inf, {"a": None}],
        )
    )
    assert (config.pad_token_id, config.labels, config.architectures) == (None, ("no", "7"), ())
    assert config.to_json_dict()["pad_token_id"] is None
    assert config.extra == {"unknown": [math.inf, {"a": None}]}
