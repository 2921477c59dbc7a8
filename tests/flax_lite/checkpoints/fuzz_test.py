"""Fuzz tests of every file format that is read: each damaged file loads or raises one ValueError.

There is no other exception, no warning and no crash, limited time and memory, and no written file. A mutation depends
only on the seed and its number, so a failure is reproduced by its number.
"""

import contextlib
import dataclasses
import functools
import json
import os
import resource
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx, traverse_util

from flax_lite.architecture.config import EncoderConfig
from flax_lite.checkpoints.accounting import Rules
from flax_lite.checkpoints.engine import load_parameters, settle_positions
from flax_lite.checkpoints.sources.directory import open_directory
from flax_lite.models.encoder import Encoder
from flax_lite.models.params import abstract_params
from flax_lite.tokenization import load_tokenizer
from tests.flax_lite import tiny
from tests.flax_lite.checkpoints import mutations
from tests.flax_lite.tokenization.tiny_files import bytes_field, tiny_charsmap, write_sentencepiece, write_vocab

SEED = 3
# So small that most bytes of a file are metadata, not values.
SMALL: dict[str, Any] = {
    "vocab_size": 5,
    "hidden_size": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 3,
    "max_position_embeddings": 6,
}
MEBIBYTE = 2**20
MAX_MEMORY = 128 * MEBIBYTE
# Above the address space of the process before the first mutation; threads of XLA and the allocator reserve a lot.
MAX_ADDRESSES = 8192 * MEBIBYTE
MAX_SECONDS = 20.0


@functools.lru_cache(maxsize=256)
def shapes_of(config: EncoderConfig) -> dict[str, jax.ShapeDtypeStruct]:
    return traverse_util.flatten_dict(abstract_params(lambda: Encoder(config, rngs=nnx.Rngs(0))), sep="/")


def load_model(directory: Path) -> None:
    """Loads an encoder like `Encoder.from_pretrained`, with shapes traced once for each config."""
    checkpoint = open_directory(directory)
    config = settle_positions(checkpoint.tensors, checkpoint.convention, checkpoint.config)
    target = shapes_of(config)
    loaded = load_parameters(
        checkpoint.tensors, checkpoint.convention, config, target, Rules(complete=True), no_new_values
    )
    for path, leaf in target.items():
        values = np.asarray(loaded.params[path])
        assert values.shape == leaf.shape
        assert np.isfinite(values).all()


def no_new_values(paths: Any) -> dict[str, jax.Array]:
    raise AssertionError(f"{paths} are initialized, although nothing may be missing")


def load_texts(directory: Path) -> None:
    """Loads a tokenizer, and encodes and decodes some text."""
    tokenizer = load_tokenizer(directory)
    texts = ["the cat sat, un-wanted: 1,050 [MASK]", "", "ÀÉ\u3000中文 \ud7ff\x00", "a" * 300]
    ids = tokenizer(texts, texts[::-1], max_length=16)["input_ids"]
    assert ((ids >= 0) & (ids < tokenizer.vocab_size)).all()
    tokenizer.decode(ids[0])


@dataclasses.dataclass(frozen=True)
class Target:
    """A directory, the file to damage, the mutations, and the function that reads the directory."""

    directory: Path
    file: str
    mutations: tuple[mutations.Mutation, ...]
    load: Callable[[Path], None]


JSON = (*mutations.BINARY[:3], mutations.splice, *4 * (mutations.change_json,))
FIXTURE = Path(__file__).with_name("sources") / "google_fixture"


def make_targets(root: Path) -> list[Target]:
    models = {
        "albert": tiny.make("Encoder", tiny.albert(**{**SMALL, "embedding_size": 3})),
        "bert": tiny.make("Encoder", tiny.bert(**SMALL)),
        "distilbert": tiny.make("Encoder", tiny.distilbert(**SMALL, sinusoidal_positions=True)),
    }
    targets: list[Target] = []

    def add(directory: Path, kinds: tuple[mutations.Mutation, ...], load: Any, *files: str) -> None:
        targets.extend(Target(directory, file, kinds, load) for file in files)

    for family, model in models.items():
        whole = root / f"{family}-safetensors"
        model.save_pretrained(whole)
        add(whole, (*mutations.BINARY, *3 * (mutations.in_header,)), load_model, "model.safetensors")
        add(whole, JSON, load_model, "config.json")
        model.save_pretrained(root / f"{family}-flax", format="flax")
        add(root / f"{family}-flax", mutations.BINARY, load_model, "flax_model.msgpack")
    for file_format, weights in (("safetensors", "model.safetensors"), ("flax", "flax_model.msgpack")):
        shards = root / f"shards-{file_format}"
        models["bert"].save_pretrained(shards, format=file_format, max_shard_size=600)
        add(shards, JSON, load_model, f"{weights}.index.json")
        first = min(file.name for file in shards.glob("*-00001-of-*"))
        add(shards, mutations.BINARY, load_model, first)
    with_charsmap = functools.partial(write_sentencepiece, normalizer=bytes_field(2, tiny_charsmap()))
    for name, write, named in (
        ("unigram", with_charsmap, "AlbertTokenizer"),
        ("wordpiece", write_vocab, "BertTokenizer"),
    ):
        (root / name).mkdir()
        file = write(root / name).name
        tokenizer = load_tokenizer(root / name)
        tokenizer.save(root / f"{name}-json")
        (root / f"{name}-json" / file).unlink()
        settings = json.loads((root / f"{name}-json" / "tokenizer_config.json").read_text())
        settings["tokenizer_class"] = named
        (root / name / "tokenizer_config.json").write_text(json.dumps(settings))
        add(root / name, mutations.BINARY, load_texts, file)
        add(root / name, JSON, load_texts, "tokenizer_config.json")
        kinds = (*JSON, *3 * (mutations.in_charsmap,)) if name == "unigram" else JSON
        add(root / f"{name}-json", kinds, load_texts, "tokenizer.json")
        add(root / f"{name}-json", JSON, load_texts, "tokenizer_config.json")
    for name in ("albert", "bert"):
        directory = root / f"google-{name}"
        shutil.copytree(FIXTURE / name, directory)
        index, values, config = (next(directory.glob(part)).name for part in ("*.index", "*.data-*", "*.json"))
        add(directory, (*mutations.BINARY, *6 * (mutations.in_table,)), load_model, index)
        add(directory, mutations.BINARY, load_model, values)
        add(directory, JSON, load_model, config)
    return targets


def damage(target: Target, number: int) -> bytes:
    """Returns a target's file after mutation `number`."""
    random = np.random.default_rng((SEED, number))
    data = (target.directory / target.file).read_bytes()
    mutate = target.mutations[random.integers(len(target.mutations))]
    return mutate(random, data)


def complaint(target: Target, stage: Path) -> str | None:
    """Returns what is wrong with reading a damaged directory; None for a model or a ValueError within the limits."""
    start, resident = time.monotonic(), reset_peak()
    try:
        target.load(stage)
    except ValueError as error:
        # A message for a user is neither empty nor pages long.
        if not 10 < len(str(error)) < 100_000:
            return f"a message of {len(str(error))} characters"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic in Rust is not an Exception
        return traceback.format_exc(limit=-4)
    seconds, memory = time.monotonic() - start, status("VmHWM") - resident
    if seconds > MAX_SECONDS or memory > MAX_MEMORY:
        return f"{seconds:.1f} s, {memory / MEBIBYTE:.0f} MiB"
    return None


def reset_peak() -> int:
    """Resets the peak of resident memory (Linux, proc_pid_clear_refs(5)); returns the current value."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    """Returns a size from /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def fuzz(root: Path, numbers: range) -> list[str]:
    """Returns complaints about the mutations of these numbers, which go round-robin over the targets."""
    targets = make_targets(root / "targets")
    assert len(targets) == 27
    for target in targets:
        target.load(target.directory)  # otherwise every mutation would raise
    with bounded_addresses():
        complaints = [(number, complaint_about(targets[number % len(targets)], number, root)) for number in numbers]
    return [f"mutation {number} of {complaint}" for number, complaint in complaints if complaint is not None]


def complaint_about(target: Target, number: int, root: Path) -> str | None:
    stage = root / "stage"
    shutil.copytree(target.directory, stage)
    # A new file, because the old one may still be mapped, and a mapped file must not be truncated.
    (stage / target.file).unlink()
    (stage / target.file).write_bytes(damage(target, number))
    before = listing(root)
    wrong = complaint(target, stage)
    if listing(root) != before:
        wrong = f"{wrong}; files were written"
    shutil.rmtree(stage)
    return wrong and f"{target.directory.name}/{target.file}: {wrong}"


def listing(root: Path) -> list[tuple[str, int]]:
    stage = [(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(root / "stage")]
    return sorted(stage) + [(entry.name, 0) for entry in os.scandir(root)] + [(name, 0) for name in os.listdir()]


@contextlib.contextmanager
def bounded_addresses() -> Iterator[None]:
    """Makes absurd allocations fail, even if the memory is never used."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + MAX_ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def assert_clean(complaints: list[str]) -> None:
    assert not complaints, f"{len(complaints)} complaints:\n" + "\n".join(complaints[:12])


def test_270_mutations_give_a_model_or_a_clean_error(tmp_path: Path) -> None:
    assert_clean(fuzz(tmp_path, range(270)))


@pytest.mark.slow  # takes minutes; the test above has ten mutations of each file
@pytest.mark.timeout(3600)
def test_10000_mutations_give_a_model_or_a_clean_error(tmp_path: Path) -> None:
    assert_clean(fuzz(tmp_path, range(270, 10_270)))
