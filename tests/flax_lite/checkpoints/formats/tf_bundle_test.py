"""Tests of the reader of TensorFlow's checkpoints, on files written by TensorFlow and on broken ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor
from flax_lite.checkpoints.formats.tf_bundle import read_bundle
from tests.flax_lite.checkpoints.formats.tf_files import header, table, variable, write_bundle, write_index
from tests.flax_lite.checkpoints.sources.google_files import CHECKPOINTS, FIXTURE, ODDITIES, values
from tests.flax_lite.tokenization.tiny_files import bytes_field, int_field, varint

SHARD = "odd.data-00000-of-00001"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """The prefix of a copy of a small checkpoint written by TensorFlow."""
    for file in (FIXTURE / "oddities").glob("odd.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "odd"


def contents(tensors: dict[str, StoredTensor]) -> dict[str, tuple]:
    """Returns shape, dtype and bytes of every tensor, for comparison."""
    return {
        name: (tensor.shape, tensor.dtype, tensor.read().tobytes() if tensor.dtype in FLOATS else b"")
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("path", CHECKPOINTS)
def test_checkpoints_of_tensorflow_are_read(path: str) -> None:
    _, shapes = CHECKPOINTS[path]
    scope = "module/" if "hub" in path else ""
    tensors = read_bundle(FIXTURE / path)
    assert tensors.keys() >= {scope + name for name in shapes}
    for name, shape in shapes.items():
        tensor = tensors[scope + name]
        assert (tensor.shape, tensor.dtype) == (shape, "float32")
        np.testing.assert_array_equal(tensor.read(), values(name, shape))


def test_read_bundle_keeps_optimizer_slots_and_counters() -> None:
    tensors = read_bundle(FIXTURE / "albert/model.ckpt-best")
    assert tensors["global_step"].dtype == "int64"
    assert tensors["bert/pooler/dense/kernel/adam_m"].shape == (6, 6)


def test_several_shards_are_all_read() -> None:
    """TensorFlow wrote this checkpoint in two shards, each with values."""
    prefix = FIXTURE / "albert_hub/variables/variables"
    assert all(Path(f"{prefix}.data-0000{shard}-of-00002").stat().st_size > 1000 for shard in (0, 1))
    assert len(contents(read_bundle(prefix))) == 80


@pytest.mark.parametrize("name", [name for name, (dtype, _) in ODDITIES.items() if dtype in FLOATS])
def test_every_float_is_read(name: str, odd: Path) -> None:
    dtype, shape = ODDITIES[name]
    tensor = read_bundle(odd)[name]
    assert (tensor.shape, tensor.dtype, tensor.num_bytes) == (shape, dtype, tensor.read().nbytes)
    np.testing.assert_array_equal(tensor.read(), (8 * values(name, shape)).astype(FLOATS[dtype]))


@pytest.mark.parametrize("name", [name for name, (dtype, _) in ODDITIES.items() if dtype not in FLOATS])
def test_other_dtypes_are_listed_but_not_read(name: str, odd: Path) -> None:
    tensor = read_bundle(odd)[name]
    assert tensor.shape == ODDITIES[name][1]
    with pytest.raises(ValueError, match=rf"{name} in .* is .*, expected one of float16, bfloat16, float32, float64"):
        tensor.read()


def test_partitioned_variables_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sliced\.index is not a complete .*: it holds variables in slices"):
        read_bundle(FIXTURE / "oddities/sliced")


def test_every_truncation_of_the_index_is_refused(odd: Path) -> None:
    index = Path(f"{odd}.index")
    data = index.read_bytes()
    for size in range(len(data)):
        index.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"odd\.index is not a complete TensorFlow index"):
            read_bundle(odd)


def test_every_changed_byte_of_the_index_is_refused_or_harmless(odd: Path) -> None:
    """Every block that is read has a checksum; other bytes are positions of blocks, padding, or not used."""
    index, expected = Path(f"{odd}.index"), contents(read_bundle(odd))
    data, refused = bytearray(index.read_bytes()), 0
    for position in range(len(data)):
        data[position] ^= 1 << position % 8
        index.write_bytes(data)
        try:
            assert contents(read_bundle(odd)) == expected
        except ValueError:
            refused += 1
        data[position] ^= 1 << position % 8
    assert refused > 0.8 * len(data)


def test_every_truncation_of_a_shard_is_refused(odd: Path) -> None:
    shard = odd.with_name(SHARD)
    data = shard.read_bytes()
    for size in range(len(data)):
        shard.write_bytes(data[:size])
        with pytest.raises(ValueError, match=rf"{SHARD} has {size} bytes, but \w+ starts at .*: truncated"):
            read_bundle(odd)


def test_every_changed_byte_of_a_shard_is_detected(odd: Path) -> None:
    shard, before = odd.with_name(SHARD), contents(read_bundle(odd))
    data = bytearray(shard.read_bytes())
    detected = set()
    for position in range(len(data)):
        data[position] ^= 0x40
        shard.write_bytes(data)
        for name, tensor in read_bundle(odd).items():
            if tensor.dtype in FLOATS:
                try:
                    assert tensor.read().tobytes() == before[name][2]
                except ValueError as error:
                    detected.add((position, f"the values of {name} do not match their checksum" in str(error)))
        data[position] ^= 0x40
    assert all(named for _, named in detected)
    assert len(detected) == sum(tensor.num_bytes for tensor in read_bundle(odd).values() if tensor.dtype in FLOATS)


def test_missing_files_are_named(odd: Path) -> None:
    odd.with_name(SHARD).unlink()
    with pytest.raises(ValueError, match=rf"{SHARD} does not exist, but .*odd\.index has tensors in it"):
        read_bundle(odd)
    Path(f"{odd}.index").unlink()
    with pytest.raises(ValueError, match=r"odd\.index does not exist; expected a TensorFlow checkpoint"):
        read_bundle(odd)


def test_unused_bytes_and_missing_unused_shards_are_accepted(tmp_path: Path) -> None:
    """As in TensorFlow, which opens a shard when a tensor in it is read."""
    write_index(tmp_path / "a", {"x": variable((2,), 8, 8)}, header(num_shards=3))
    (tmp_path / "a.data-00000-of-00003").write_bytes(bytes(100))
    assert read_bundle(tmp_path / "a").keys() == {"x"}


def test_empty_shard_is_read(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"x": np.zeros((0, 3), np.float32)})
    assert read_bundle(tmp_path / "a")["x"].read().shape == (0, 3)


GIGA = 2**30


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"x": variable((3, 4), 0, 40)}, r"x has shape \[3, 4\] and float32, but 40 bytes"),
        ({"x": variable((GIGA, GIGA, GIGA), 0, 48)}, "but 48 bytes"),
        ({"x": variable((GIGA, GIGA), 0, 4 * GIGA**2)}, "has 48 bytes, but x starts at 0"),
        ({"x": variable((3, 4), 1, 48)}, "has 48 bytes, but x starts at 1 and has 48: truncated"),
        ({"x": variable((3, 4), 2**64 - 48, 48)}, "but x starts at 18446744073709551568"),
        ({"x": variable((0, 2**63), 0, 0)}, "x has a negative size"),
        ({"x": variable((1,) * 9, 0, 4)}, "more than 8 axes"),
        ({"x": variable((3, 4), 0, 48, shard=1)}, "x is in shard 1 of 1"),
        ({"x": variable((3, 4), 0, 48, shard=2**40)}, "x is in shard 1099511627776 of 1"),
        ({"x": variable((2,), 0, 8), "y": variable((2,), 4, 8)}, "x and y overlap"),
        ({"x": variable((2,), 0, 8), "y": variable((2,), 0, 8)}, "x and y overlap"),
        ({"x": variable((), 0, 4, more=bytes_field(7, b""))}, "x is stored in slices"),
        ({"x": variable((), 0, 4, more=bytes_field(2, int_field(3, 1)))}, "x has no shape"),
        ({"x": variable((), 0, 4, more=int_field(2, 1))}, "shape of x is stored as a number"),
        ({"x": variable((), 0, 4, more=int_field(6, 1))}, "checksum of x is stored as a number"),
        ({"x": variable((), 0, 4, more=bytes_field(4, b""))}, "offset of x is not stored as a number"),
        ({"x": b"\x80"}, "ends inside a number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictory_entries_are_refused(variables: dict[str, bytes], problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(48))
    write_index(tmp_path / "a", variables)
    with pytest.raises(ValueError, match=problem):
        read_bundle(tmp_path / "a")


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (header(1, int_field(2, 1)), "big-endian"),
        (header(1, bytes_field(3, int_field(2, 2))), "needs a reader of version 2, this one has 1"),
        (header(0), "x is in shard 0 of 0"),
        (header(2**40), "data-00000-of-1099511627776 does not exist"),
        (int_field(3, 1), "version is stored as a number"),
        (varint(2**60), "field number 0|wire type|inside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers_of_other_formats_are_refused(head: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.data-00000-of-00001").write_bytes(bytes(48))
    write_index(tmp_path / "a", {"x": variable((3, 4), 0, 48)}, head)
    with pytest.raises(ValueError, match=problem):
        read_bundle(tmp_path / "a")


def test_table_without_header_is_refused(tmp_path: Path) -> None:
    for pairs in ([], [(b"x", variable((), 0, 4))]):
        (tmp_path / "a.index").write_bytes(table(pairs))
        with pytest.raises(ValueError, match="it has no header"):
            read_bundle(tmp_path / "a")


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.index").write_bytes(table([(b"", header()), (b"\xff\xfe", variable((), 0, 4))]))
    with pytest.raises(ValueError, match=r"a\.index is not a complete TensorFlow index: .*codec"):
        read_bundle(tmp_path / "a")


def test_index_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.index").open("wb") as file:
        file.truncate(2**40)  # takes no space
    with pytest.raises(ValueError, match="has 1099511627776 bytes, expected at most 67108864"):
        read_bundle(tmp_path / "a")
