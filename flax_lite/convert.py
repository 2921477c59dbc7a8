"""Converts a checkpoint to another format, with all its heads.

python -m flax_lite.convert SOURCE TARGET --to flax|safetensors [--dtype DTYPE] [--layers N|I,J,...]
        [--max_shard_size SIZE]
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.formats.tensors import FLOATS
from flax_lite.checkpoints.layers import pick_layers
from flax_lite.checkpoints.sentence_transformers import LAYOUT_FILES
from flax_lite.checkpoints.sources.companions import Companions, open_with_companions
from flax_lite.checkpoints.sources.directory import HEAD_FILE, write_directory
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.files.names import TOKENIZER_FILES
from flax_lite.files.output import print_lines
from flax_lite.models.contents import read_whole, survey
from flax_lite.models.pretrained import of_depth
from flax_lite.question_answering.beam_files import open_head, write_head


def convert(
    source: str,
    target: str,
    to: Sequence[str],
    *,
    dtype: str | None = None,
    num_hidden_layers: int | None = None,
    layers: Sequence[int] | None = None,
    max_shard_size: int | str | None = None,
) -> list[str]:
    """Writes a checkpoint to a directory: weights with every head, config.json, and other files that affect results.

    Those are the files of the tokenizer and of sentence-transformers (pooling, normalization, length, prompts), the
    latter if their settings are supported.

    Args:
        source: any SOURCE.
        target: a directory, created or replaced as a whole. Such files of another model in it are removed, except for a
            tokenizer if the source has none.
        to: "safetensors" (PyTorch's names), "flax", or both.
        dtype: dtype of the written weights; unchanged if None.
        num_hidden_layers: another depth, for an ALBERT with one group.
        layers: indices of the layers to keep; all if None. See `flax_lite.checkpoints.pick_layers`.
        max_shard_size: largest file in bytes, or text such as "5GB"; one file if None.

    Returns:
        Messages about what was done.

    Raises:
        ValueError: if the source cannot be read or the target cannot be written.
    """
    in_place = Path(source).exists() and Path(target).exists() and Path(source).samefile(target)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, companions = open_with_companions(source, Path(folder))
        if layers is not None:
            checkpoint = pick_layers(checkpoint, layers)
        return _write(checkpoint, companions, target, tuple(to), dtype, num_hidden_layers, max_shard_size, in_place)


def _write(
    checkpoint: Checkpoint,
    companions: Companions,
    target: str,
    to: tuple[str, ...],
    dtype: str | None,
    num_hidden_layers: int | None,
    max_shard_size: int | str | None,
    in_place: bool,
) -> list[str]:
    contents = survey(checkpoint)
    target_shapes = contents.target
    if dtype is not None:
        target_shapes = {path: leaf.update(dtype=FLOATS[dtype]) for path, leaf in target_shapes.items()}
    loaded = read_whole(checkpoint, dataclasses.replace(contents, target=target_shapes))
    config = of_depth(contents.config, num_hidden_layers)
    head_files: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as folder:
        head = open_head(checkpoint)
        if head is not None:
            head_files = {HEAD_FILE: Path(folder) / HEAD_FILE}
            write_head(head_files[HEAD_FILE], head, dtype)
        replaces = () if in_place else (*LAYOUT_FILES, *(TOKENIZER_FILES if companions.tokenizer else ()))
        files = {**companions.tokenizer, **companions.sentences, **head_files}
        write_directory(target, loaded.params, config, to, files, max_shard_size, replaces)
    written = ", ".join((*to, *head_files, *companions.sentences))
    return [
        f"read {checkpoint.path}: {contents.describe()}",
        *loaded.remarks,
        *([] if in_place else companions.notes),
        f"wrote {target}: {written}, tokenizer files: {', '.join(companions.tokenizer) or 'none in the source'}",
    ]


def _layers(text: str) -> int | tuple[int, ...]:
    """Returns the depth or, if there is a comma, the indices that an argument gives."""
    try:
        return tuple(int(index) for index in text.split(",") if index.strip()) if "," in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a depth, as 24, nor layers to keep, as 0,3,5") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns exit status 2 for a source or target that cannot be converted."""
    parser = argparse.ArgumentParser(
        prog="python -m flax_lite.convert",
        description="Converts a checkpoint to another format, with all its heads.",
    )
    parser.add_argument("source", help="directory, work directory (@best, @last, @STEP), TensorFlow checkpoint, hub id")
    parser.add_argument("target", help="output directory; replaced as a whole if it exists")
    parser.add_argument("--to", nargs="+", choices=("flax", "safetensors"), required=True, help="one format or both")
    parser.add_argument("--dtype", choices=tuple(FLOATS), help="dtype of the written weights; default: unchanged")
    parser.add_argument(
        "--layers",
        type=_layers,
        metavar="N|I,J,...",
        help="0,3,5: keep these layers, counted from 0 (a single one: 3,); 24: another depth, for an ALBERT with one "
        "shared layer",
    )
    parser.add_argument("--max_shard_size", help="largest file, such as 5GB or 500MB; default: one file")
    parser.add_argument("--verbose", action="store_true", help="list every written tensor")
    args = parser.parse_args(argv)
    try:
        lines = convert(
            args.source,
            args.target,
            args.to,
            dtype=args.dtype,
            num_hidden_layers=args.layers if isinstance(args.layers, int) else None,
            layers=args.layers if isinstance(args.layers, tuple) else None,
            max_shard_size=args.max_shard_size,
        )
        if args.verbose:
            tensors = open_source(args.target).tensors
            lines += [f"  {name} {list(tensor.shape)} {tensor.dtype}" for name, tensor in tensors.items()]
    except (ValueError, OSError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 2
    print_lines(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
