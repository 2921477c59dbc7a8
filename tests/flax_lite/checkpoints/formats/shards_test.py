"""Tests of checkpoints in shards: writing, reading, and malformed indexes."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as library

from flax_lite.checkpoints.formats.msgpack_file import read_msgpack, write_msgpack
from flax_lite.checkpoints.formats.shards import parse_size
from flax_lite.checkpoints.sources.directory import open_directory
from flax_lite.models.heads import MaskedLM
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints.files import INDEX, assert_same_parameters, flat, read_index, saved, tiny_model

SHARD = {"safetensors": "model-{:05d}-of-{:05d}.safetensors", "flax": "flax_model-{:05d}-of-{:05d}.msgpack"}
FORMATS = tuple(INDEX)
WORD = {"safetensors": "bert.embeddings.word_embeddings.weight", "flax": "bert/embeddings/word_embeddings/embedding"}


@pytest.fixture(params=FORMATS)
def sharded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A BERT masked LM in shards of at most 4 kB, and the name of the format."""
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=request.param, max_shard_size="4KB")
    return tmp_path / "model", request.param


def edit_index(directory: Path, file_format: str, change: Callable[[dict[str, str]], object]) -> None:
    index = read_index(directory, file_format)
    change(index["weight_map"])
    (directory / INDEX[file_format]).write_text(json.dumps(index))


def tensors_in(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        return library.load_file(path)
    return {name.replace(".", "/"): tensor.read().copy() for name, tensor in read_msgpack(path).items()}


def refusal(directory: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(directory))) as caught:
        open_directory(directory)
    return str(caught.value)


def test_shards_keep_to_the_size_and_the_index_maps_every_tensor(sharded: tuple[Path, str]) -> None:
    directory, file_format = sharded
    index = read_index(directory, file_format)
    names = sorted(set(index["weight_map"].values()))
    assert names == [SHARD[file_format].format(number, len(names)) for number in range(1, len(names) + 1)]
    assert len(names) > 3
    assert {file.name for file in directory.iterdir()} == {"config.json", INDEX[file_format], *names}
    total = 0
    for name in names:
        held = tensors_in(directory / name)
        assert set(held) == {key for key, file in index["weight_map"].items() if file == name}
        size = sum(array.nbytes for array in held.values())
        assert size <= 4000 or len(held) == 1
        total += size
    assert index["metadata"] == {"total_size": total}


def test_shards_round_trip(sharded: tuple[Path, str]) -> None:
    directory, file_format = sharded
    assert open_directory(directory).path.name == INDEX[file_format]
    assert_same_parameters(tiny_model("MaskedLM", tiny.bert()), MaskedLM.from_pretrained(directory))


def test_links_into_the_hubs_cache_are_followed(sharded: tuple[Path, str]) -> None:
    """A snapshot of the hub's cache consists of links to blobs named by their hashes."""
    directory, _ = sharded
    snapshot = directory.with_name("snapshots") / "0123abcd"
    blobs = directory.with_name("blobs")
    for each in (snapshot, blobs):
        each.mkdir(parents=True)
    for number, file in enumerate(sorted(directory.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert_same_parameters(tiny_model("MaskedLM", tiny.bert()), MaskedLM.from_pretrained(snapshot))


def test_small_model_is_one_file_and_a_large_tensor_is_one_shard(tmp_path: Path) -> None:
    both = ("safetensors", "flax")
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=both, max_shard_size="1GB")
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "flax_model.msgpack",
    }
    model = saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=both, max_shard_size=1)
    for file_format, number in (("safetensors", 1), ("flax", 0)):
        tensors = sum(len(leaf) if "layers/" in path else 1 for path, leaf in flat(model).items())
        # PyTorch's names include a copy of the decoder's bias.
        assert len(set(read_index(tmp_path / "model", file_format)["weight_map"].values())) == tensors + number


def test_shards_of_an_earlier_save_are_removed(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {file.name for file in (tmp_path / "model").iterdir()}

    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=FORMATS, max_shard_size=500)
    many = names()
    saved(tmp_path / "model", "MaskedLM", tiny.bert(), format=FORMATS, max_shard_size="8KB")
    assert not {name for name in names() & many if "-of-" in name}
    saved(tmp_path / "model", "MaskedLM", tiny.bert())
    assert names() == {"config.json", "model.safetensors"}


def test_one_file_precedes_shards_and_safetensors_precedes_msgpack(tmp_path: Path) -> None:
    saved(tmp_path / "whole", "MaskedLM", tiny.bert(), format=FORMATS)
    directory = tmp_path / "model"
    saved(directory, "MaskedLM", tiny.bert(), format=FORMATS, max_shard_size="4KB")
    for name in ("model.safetensors", "flax_model.msgpack"):
        (tmp_path / "whole" / name).rename(directory / name)
    for name in ("model.safetensors", INDEX["safetensors"], "flax_model.msgpack", INDEX["flax"]):
        assert open_directory(directory).path == directory / name
        (directory / name).unlink()
    assert "has neither" in refusal(directory)


@pytest.mark.parametrize("shards", [1, 2])
def test_safetensors_with_flax_names_are_read(shards: int, tmp_path: Path) -> None:
    """transformers 4.57 writes such files: FlaxPreTrainedModel.save_pretrained(safe_serialization=True)."""
    directory = tmp_path / "model"
    model = saved(directory, "MaskedLM", tiny.albert(), format="flax")
    arrays = {name: tensor.read().copy() for name, tensor in open_directory(directory).tensors.items()}
    (directory / "flax_model.msgpack").unlink()
    weight_map = {}
    for number in range(shards):
        name = "model.safetensors" if shards == 1 else SHARD["safetensors"].format(number + 1, shards)
        part = {key: arrays[key] for key in list(arrays)[number::shards]}
        library.save_file(part, directory / name, {"format": "flax"})
        weight_map.update(dict.fromkeys(part, name))
    if shards > 1:
        (directory / INDEX["safetensors"]).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same_parameters(model, MaskedLM.from_pretrained(directory))


BAD_FILES = [
    "../model-00001-of-00004.safetensors",
    "/etc/passwd.safetensors",
    "sub/model.safetensors",
    "..\\model.safetensors",
    "C:model.safetensors",
    "model\0.safetensors",
    "mo\ud800del.safetensors",
    "pytorch_model.bin",
    "..",
    "",
    "m" * 10**5,
    None,
    3,
    ["model.safetensors"],
]


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: ascii(bad)[:30])
def test_index_with_malformed_file_names_is_refused(bad: Any, sharded: tuple[Path, str]) -> None:
    directory, file_format = sharded
    if isinstance(bad, str):
        bad = bad.replace(".safetensors", Path(SHARD[file_format]).suffix)
    edit_index(directory, file_format, lambda weight_map: weight_map.update({WORD[file_format]: bad}))
    message = refusal(directory)
    assert "expected the plain name of a" in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "not valid JSON: it holds a list"),
        ("{}", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": []}', "has no weight_map"),
        ('{"weight_map": {"a": "b.msgpack", "a": "b.msgpack"}}', "key 'a' occurs twice"),
        ('{"weight_map": ' + "[" * 10**5, "nested"),
    ],
)
def test_broken_index_is_refused(text: str, message: str, sharded: tuple[Path, str]) -> None:
    directory, file_format = sharded
    (directory / INDEX[file_format]).write_text(text)
    assert message in refusal(directory)


def test_missing_shards_are_named(sharded: tuple[Path, str]) -> None:
    directory, file_format = sharded
    names = sorted(set(read_index(directory, file_format)["weight_map"].values()))
    (directory / names[1]).unlink()
    (directory / names[2]).unlink()
    assert f"do not exist:\n  {names[1]}\n  {names[2]}\n" in refusal(directory)


BUFFERS = ("bert.embeddings.position_ids", "embeddings.token_type_ids")


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("where", ["one shard only", "index only", "two shards", "shard and index"])
def test_buffers_are_ignored_in_shards(where: str, buffer: str, tmp_path: Path) -> None:
    """transformers saved these buffers until 4.31; an index may be from another version, or edited."""
    directory = tmp_path / "model"
    saved(directory, "MaskedLM", tiny.bert(), max_shard_size="4KB")
    shards = sorted(set(read_index(directory, "safetensors")["weight_map"].values()))
    holders = {"index only": [], "two shards": shards[:2]}.get(where, shards[:1])
    for shard in holders:
        held = {**library.load_file(directory / shard), buffer: np.arange(16)}
        library.save_file(held, directory / shard, {"format": "pt"})
    if where != "one shard only":
        edit_index(directory, "safetensors", lambda weight_map: weight_map.update({buffer: shards[0]}))
    assert_same_parameters(tiny_model("MaskedLM", tiny.bert()), MaskedLM.from_pretrained(directory))


def test_index_and_shards_must_agree(sharded: tuple[Path, str]) -> None:
    """All at once: a tensor in two shards, one in another shard, one in no shard, and one that is not in the index."""
    directory, file_format = sharded
    weight_map = read_index(directory, file_format)["weight_map"]
    first, second = sorted(set(weight_map.values()))[:2]
    in_first, in_second = ([name for name, file in weight_map.items() if file == each] for each in (first, second))
    rewritten = {**tensors_in(directory / second), in_first[0]: tensors_in(directory / first)[in_first[0]]}
    if file_format == "safetensors":
        library.save_file(rewritten, directory / second, {"format": "pt"})
    else:
        from tests.flax_lite.checkpoints.formats.msgpack_file_test import stored

        held = {name.replace("/", "."): stored(array) for name, array in rewritten.items()}
        write_msgpack(directory / second, held)

    def change(weight_map: dict[str, str]) -> None:
        weight_map[in_second[0]] = first
        weight_map["nowhere"] = first
        del weight_map[in_second[1]]

    edit_index(directory, file_format, change)
    message = refusal(directory)
    dotted = [name.replace("/", ".") if file_format == "flax" else name for name in (in_first[0], *in_second[:2])]
    assert f"1 in several shards:\n  {dotted[0]}: {first}, {second}" in message
    assert "2 not in the shard that the index names:" in message
    assert f"  {dotted[1]}: {first}" in message
    assert f"  nowhere: {first}" in message
    assert f"1 in a shard, but not in the index:\n  {dotted[2]}: {second}" in message


def test_shards_of_different_formats_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    saved(directory, "MaskedLM", tiny.bert(), max_shard_size="4KB")
    shard = directory / next(iter(read_index(directory, "safetensors")["weight_map"].values()))
    library.save_file(library.load_file(shard), shard, {"format": "flax"})
    assert "its shards name several formats" in refusal(directory)


@pytest.mark.parametrize(
    ("size", "num_bytes"),
    [
        (None, math.inf),
        (1, 1),
        ("500", None),
        ("500B", 500),
        ("10GB", 10 * 10**9),
        ("1.5 MB", 1_500_000),
        ("2MiB", 2 * 2**20),
        ("3kB", 3000),
        ("1Mb", None),
        ("GB", None),
        ("-1GB", None),
        ("0GB", None),
        ("1e9", None),
        (0, None),
        (-5, None),
        (True, None),
        ("", None),
    ],
)
def test_parse_size(size: int | str | None, num_bytes: float | None, tmp_path: Path) -> None:
    if num_bytes is not None:
        assert parse_size(size) == num_bytes
        return
    with pytest.raises(ValueError, match="is not a size; give a number of bytes, or text such as '500MB'"):
        tiny_model("Encoder", tiny.bert()).save_pretrained(tmp_path / "model", max_shard_size=size)
    assert not (tmp_path / "model").exists()
