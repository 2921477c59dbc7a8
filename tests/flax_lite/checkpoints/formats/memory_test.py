"""Tests that a conversion needs memory for one copy of the model, its largest tensor once more, and 32 MB.

Measured in a separate process: peak of RssAnon, which excludes pages of mapped files, minus its value after the imports
(Linux, proc_pid_status(5)).
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx, traverse_util

from flax_lite.checkpoints.sources.directory import write_directory
from flax_lite.families.albert import AlbertConfig
from flax_lite.models.heads import MaskedLM
from flax_lite.models.params import abstract_params

MEGABYTE = 10**6
SLACK = 32 * MEGABYTE
# Two kernels of 67 MB are nearly all of the model: a second copy of one of them exceeds the bound.
WIDE: dict[str, Any] = {
    "vocab_size": 1000,
    "embedding_size": 16,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "intermediate_size": 32768,
}
CONVERSIONS = """
import ctypes, gc, json, sys, threading, time
from flax_lite import convert
from flax_lite.models import heads

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not done.is_set():
        peak.append(max(peak.pop(), anonymous()))
        time.sleep(0.002)

def run(api, source, target, file_format, shard, dtype):
    if api == "model":
        model = heads.MaskedLM.from_pretrained(source, param_dtype=dtype)
        model.save_pretrained(target, format=file_format, max_shard_size=shard)
    else:
        convert.convert(source, target, [file_format], dtype=dtype, max_shard_size=shard)

for conversion in json.loads(sys.argv[1]):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    done, baseline = threading.Event(), anonymous()
    peak = [baseline]
    thread = threading.Thread(target=watch)
    thread.start()
    run(**conversion)
    done.set()
    thread.join()
    print(peak[0] - baseline)
"""


def write_source(directory: Path, config: AlbertConfig, file_format: str, **options: Any) -> list[int]:
    """Writes a model whose values are all equal; returns the size of each parameter."""
    shapes = traverse_util.flatten_dict(abstract_params(lambda: MaskedLM(config, rngs=nnx.Rngs(0))), sep="/")
    params: Any = {path: np.broadcast_to(np.float32(0.5), leaf.shape) for path, leaf in shapes.items()}
    named = config.replace(architectures=("AlbertForMaskedLM",))
    write_directory(directory, params, named, (file_format,), **options)
    return [leaf.size for leaf in jax.tree.leaves(shapes)]


def conversion(
    api: str, source: Path, file_format: str, shard: str | None = None, dtype: str = "float32"
) -> dict[str, str | None]:
    """Returns the arguments of one conversion in CONVERSIONS."""
    target = str(source.with_name(f"{source.name}-converted"))
    options = {"file_format": file_format, "shard": shard, "dtype": dtype}
    return {"api": api, "source": str(source), "target": target, **options}


def peaks(*conversions: dict[str, str | None]) -> list[int]:
    """Runs the conversions in one process; returns the peak of anonymous memory above each baseline, in bytes."""
    command = [sys.executable, "-c", CONVERSIONS, json.dumps(conversions)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(line) for line in printed.splitlines()]


def assert_one_copy(peak: int, sizes: list[int], itemsize: int = 4, slack: int = SLACK) -> None:
    bound = itemsize * (sum(sizes) + max(sizes)) + slack
    print(f"peak {peak / MEGABYTE:.0f} MB, bound {bound / MEGABYTE:.0f} MB")
    assert itemsize * sum(sizes) < peak < bound


def test_conversions_hold_one_copy(tmp_path: Path) -> None:
    """From a model and from a checkpoint, in both directions, in one file and in shards, and to a narrower dtype."""
    sizes = write_source(tmp_path / "whole", AlbertConfig(**WIDE), "safetensors")
    write_source(tmp_path / "flax-shards", AlbertConfig(**WIDE), "flax", max_shard_size="100MB")
    write_source(tmp_path / "shards", AlbertConfig(**WIDE), "safetensors", max_shard_size="100MB")
    whole, converted, narrow = peaks(
        conversion("model", tmp_path / "whole", "flax"),
        conversion("convert", tmp_path / "flax-shards", "safetensors", shard="100MB"),
        conversion("model", tmp_path / "shards", "flax", shard="100MB", dtype="bfloat16"),
    )
    assert_one_copy(whole, sizes)
    assert_one_copy(converted, sizes)
    assert_one_copy(narrow, sizes, itemsize=2)


@pytest.mark.slow  # 0.9 GB of weights, four times; the test above checks the same bound at a seventh of the size
@pytest.mark.parametrize("api", ["model", "convert"])
@pytest.mark.parametrize(("source_format", "target_format"), [("safetensors", "flax"), ("flax", "safetensors")])
def test_conversion_of_xxlarge_holds_one_copy(source_format: str, target_format: str, api: str, tmp_path: Path) -> None:
    sizes = write_source(tmp_path / "source", AlbertConfig.from_preset("albert-xxlarge-v2"), source_format)
    (peak,) = peaks(conversion(api, tmp_path / "source", target_format))
    assert_one_copy(peak, sizes, slack=2 * SLACK)
