"""Writes a model as a program that runs without flax_lite.

python -m flax_lite.export SOURCE OUT --to stablehlo|onnx [--task TASK] [--batch B] [--length T] [--dtype DTYPE]
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from flax_lite.architecture.registry import weight_table
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.sources.companions import Companions, copied, open_with_companions
from flax_lite.checkpoints.sources.directory import write_config
from flax_lite.checkpoints.sources.resolve import Source
from flax_lite.exporting.loading import load_for_export
from flax_lite.exporting.onnx_file import require_onnx, write_onnx
from flax_lite.exporting.readme import readme
from flax_lite.exporting.stablehlo import require_flatbuffers, write_stablehlo
from flax_lite.exporting.tasks import Sizes, choose_task
from flax_lite.files.output import print_lines
from flax_lite.files.staging import staged_directory
from flax_lite.layers.execution import DType, Execution
from flax_lite.models.pretrained import architecture
from flax_lite.models.tasks import EXPORTS


class _Format(NamedTuple):
    """The functions of a format: one that writes it, and one that checks that its packages are installed."""

    write: Callable[[Any, Path, Sizes], None]
    require: Callable[[], None]


_FORMATS: Mapping[str, _Format] = {
    "stablehlo": _Format(write_stablehlo, require_flatbuffers),
    "onnx": _Format(write_onnx, require_onnx),
}
_DTYPES = tuple(name for name in get_args(DType) if name != "auto")


def export(
    source: Source,
    target: str | os.PathLike[str],
    to: str,
    *,
    task: str | None = None,
    batch: int | None = None,
    length: int | None = None,
    dtype: DType = "float32",
) -> str:
    """Writes a model as a program, with config.json, the tokenizer's files and a README.md with code that runs it.

    An encoder also gets the files of sentence-transformers, which specify the pooling of the token vectors.

    Args:
        source: any SOURCE.
        target: a directory that does not exist; it is written completely or not at all.
        to: "stablehlo" (jax.export, with the weights in a separate file) or "onnx".
        task: one of `flax_lite.models.tasks.EXPORTS`; the one that config.json's `architectures` names if None.
        batch: fixed batch size; any if None.
        length: fixed number of tokens in a row; any up to the model's maximum if None.
        dtype: dtype of the weights and of the computation; ONNX is written in float32 only.

    Returns:
        One line that says what was written.

    Raises:
        ValueError: if the source cannot be read or lacks a part of the task's model, the target exists, or an argument
            is invalid.
    """
    _check(target, to, dtype)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, beside = open_with_companions(os.fspath(source), Path(folder))
        return _write(checkpoint, beside, target, to, task, Sizes(batch, length), dtype)


def _write(
    checkpoint: Checkpoint,
    beside: Companions,
    target: str | os.PathLike[str],
    to: str,
    task: str | None,
    sizes: Sizes,
    dtype: DType,
) -> str:
    sizes.check(checkpoint.config)
    chosen = choose_task(checkpoint.config, task)
    model = load_for_export(checkpoint, chosen, Execution(dtype=dtype, attention="xla"))
    config = model.config.replace(architectures=(architecture(type(model), model.config),))
    with staged_directory(target) as stage:
        _FORMATS[to].write(model, stage, sizes)
        write_config(stage, config)
        text = readme(to, weight_table(config).family, chosen, sizes)
        (stage / "README.md").write_text(text, encoding="utf-8")
        copied({**beside.tokenizer, **(beside.sentences if chosen.model == "Encoder" else {})}, stage)
        paths = sorted(path for path in stage.rglob("*") if path.is_file())
        written = ", ".join(f"{path.relative_to(stage)} {_size(path)}" for path in paths)
    return "; ".join((f"wrote {os.fspath(target)}: {to}, {chosen.export}, {dtype}: {written}", *beside.notes))


def _check(target: str | os.PathLike[str], to: str, dtype: str) -> None:
    """Raises ValueError for invalid arguments, before a model is read."""
    if Path(target).exists():
        raise ValueError(f"{os.fspath(target)} exists; name a directory that does not, or remove it first")
    if to not in _FORMATS:
        raise ValueError(f"format {to!r} is not known; choose from {', '.join(_FORMATS)}")
    if dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r} is not known; choose from {', '.join(_DTYPES)}")
    _FORMATS[to].require()
    if to == "onnx" and dtype != "float32":
        raise ValueError(
            f"ONNX is written in float32, given dtype {dtype}; leave dtype out, and convert the file with "
            "onnxruntime's own tools"
        )


def _size(path: Path) -> str:
    num_bytes = path.stat().st_size
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.1f} kB"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns exit status 2 for a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m flax_lite.export",
        description="Writes a model as a program that runs without flax_lite: StableHLO (jax.export) or ONNX.",
    )
    parser.add_argument("source", help="directory, work directory (@best, @last, @STEP), TensorFlow checkpoint, hub id")
    parser.add_argument("out", help="directory to write; it must not exist")
    parser.add_argument("--to", choices=tuple(_FORMATS), required=True, help="the format")
    parser.add_argument(
        "--task", choices=tuple(EXPORTS), help="default: the task that config.json's architectures names"
    )
    parser.add_argument("--batch", type=int, help="fixed batch size; default: any")
    parser.add_argument("--length", type=int, help="fixed number of tokens in a row; default: any up to the maximum")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="of weights and computation (stablehlo)")
    args = parser.parse_args(argv)
    try:
        line = export(
            args.source,
            args.out,
            args.to,
            task=args.task,
            batch=args.batch,
            length=args.length,
            dtype=args.dtype,
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"export: {error}\n")
        return 2
    print_lines([line])
    return 0


if __name__ == "__main__":
    sys.exit(main())
