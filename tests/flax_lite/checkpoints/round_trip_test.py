"""Tests that conversions between formats, shards and dtypes keep names, shapes, dtypes and bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_lite.checkpoints.formats.tensors import Tensors
from flax_lite.checkpoints.sources.directory import open_directory
from flax_lite.models.heads import MaskedLM
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import flat, saved

pytestmark = pytest.mark.compat

CASES: dict[str, Any] = {
    "albert, groups, untied": (
        tiny.albert(num_hidden_groups=2, inner_group_num=2, tie_word_embeddings=False),
        "float32",
    ),
    "bert, untied": (tiny.bert(tie_word_embeddings=False), "float16"),
    "distilbert, untied and sinusoidal": (
        tiny.distilbert(tie_word_embeddings=False, sinusoidal_positions=True),
        "bfloat16",
    ),
}
# Each format in one file and in shards, each written from the model that was read from the previous one.
STATIONS = (
    ("flax", None),
    ("safetensors", "2KB"),
    ("flax", "2KB"),
    ("safetensors", None),
)


def content(tensors: Tensors) -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    return {name: (tensor.shape, tensor.dtype, tensor.read().tobytes()) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("config", "dtype"), CASES.values(), ids=CASES)
def test_round_trip_keeps_names_shapes_dtypes_and_bits(config: Any, dtype: str, tmp_path: Path) -> None:
    made = saved(tmp_path / "0", "MaskedLM", config)
    bits = {path: np.asarray(leaf).astype(dtype).tobytes() for path, leaf in flat(made).items()}
    model = MaskedLM.from_pretrained(tmp_path / "0", param_dtype=dtype)
    written: dict[str, Any] = {}
    for number, (file_format, shard) in enumerate(STATIONS, start=1):
        model.save_pretrained(tmp_path / str(number), format=file_format, max_shard_size=shard)
        checkpoint = open_directory(tmp_path / str(number))
        held = content(checkpoint.tensors)
        assert held == written.setdefault(file_format, held)
        assert checkpoint.path.name.endswith(".index.json") == (shard is not None)
        # The table of sinusoidal positions is not a parameter, and is float32 in every file.
        found = {tensor[1] for key, tensor in held.items() if "position_embeddings" not in key}
        assert found == {dtype}
        model = MaskedLM.from_pretrained(tmp_path / str(number), param_dtype=dtype)
        assert {path: np.asarray(leaf).tobytes() for path, leaf in flat(model).items()} == bits
    assert model.config.replace(architectures=()) == config
