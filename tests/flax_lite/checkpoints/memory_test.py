"""How much memory a conversion takes: a copy of the model, its largest tensor once more, and 64 MB for everything else.

Measured in a process of its own as the peak of RssAnon, which leaves out the pages of mapped files, above what it is
once everything is imported (Linux: proc_pid_status(5)).
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx, traverse_util

from flax_lite.albert import AlbertConfig
from flax_lite.checkpoints.directory import write_directory
from flax_lite.heads import MaskedLM
from flax_lite.state import abstract_params

MEGABYTE = 10**6
SLACK = 64 * MEGABYTE
# Two kernels of 134 MB are nearly all of it: a second copy of either, or of the whole, goes beyond the bound.
WIDE: dict[str, Any] = {
    "vocab_size": 1000,
    "embedding_size": 16,
    "hidden_size": 512,
    "num_attention_heads": 8,
    "intermediate_size": 65536,
}
CONVERSION = """
import sys, threading, time
from flax_lite import convert, heads

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

def watch():
    while not done.is_set():
        peak.append(max(peak.pop(), anonymous()))
        time.sleep(0.001)

how, source, target, file_format, shard, dtype = sys.argv[1:]
done, baseline = threading.Event(), anonymous()
peak = [baseline]
thread = threading.Thread(target=watch)
thread.start()
if how == "model":
    model = heads.MaskedLM.from_pretrained(source, param_dtype=dtype)
    model.save_pretrained(target, format=file_format, max_shard_size=shard or None)
else:
    convert.convert(source, target, [file_format], dtype=dtype, max_shard_size=shard or None)
done.set()
thread.join()
print(peak[0] - baseline)
"""


def write_source(directory: Path, config: AlbertConfig, file_format: str, **options: Any) -> list[int]:
    """A model whose values are all alike; returns the number of values of each."""
    shapes = traverse_util.flatten_dict(abstract_params(lambda: MaskedLM(config, rngs=nnx.Rngs(0))), sep="/")
    params: Any = {path: np.broadcast_to(np.float32(0.5), leaf.shape) for path, leaf in shapes.items()}
    named = config.replace(architectures=("AlbertForMaskedLM",))
    write_directory(directory, params, named, (file_format,), **options)
    return [leaf.size for leaf in jax.tree.leaves(shapes)]


def convert(how: str, source: Path, target: Path, file_format: str, shard: str = "", dtype: str = "float32") -> int:
    """Peak of anonymous memory above the baseline, in bytes."""
    command = [sys.executable, "-c", CONVERSION, how, str(source), str(target), file_format, shard, dtype]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def assert_one_copy(peak: int, sizes: list[int], itemsize: int = 4) -> None:
    bound = itemsize * (sum(sizes) + max(sizes)) + SLACK
    print(f"peak {peak / MEGABYTE:.0f} MB, bound {bound / MEGABYTE:.0f} MB")
    assert itemsize * sum(sizes) < peak < bound


@pytest.mark.parametrize(
    ("how", "source_format", "target_format", "shard", "dtype"),
    [
        ("model", "safetensors", "flax", "", "float32"),
        ("convert", "flax", "safetensors", "100MB", "float32"),
        ("model", "safetensors", "flax", "100MB", "bfloat16"),
    ],
)
def test_conversion_holds_one_copy(
    how: str, source_format: str, target_format: str, shard: str, dtype: str, tmp_path: Path
) -> None:
    sizes = write_source(tmp_path / "source", AlbertConfig(**WIDE), source_format, max_shard_size=shard or None)
    peak = convert(how, tmp_path / "source", tmp_path / "target", target_format, shard, dtype)
    assert_one_copy(peak, sizes, 2 if dtype == "bfloat16" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["model", "convert"])
@pytest.mark.parametrize(("source_format", "target_format"), [("safetensors", "flax"), ("flax", "safetensors")])
def test_conversion_of_xxlarge_holds_one_copy(source_format: str, target_format: str, how: str, tmp_path: Path) -> None:
    sizes = write_source(tmp_path / "source", AlbertConfig.from_preset("albert-xxlarge-v2"), source_format)
    assert_one_copy(convert(how, tmp_path / "source", tmp_path / "target", target_format), sizes)
