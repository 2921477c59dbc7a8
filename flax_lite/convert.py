"""Rewrites a checkpoint in another format, with all the heads it holds.

python -m flax_lite.convert SOURCE TARGET --to flax|safetensors [--dtype DTYPE] [--layers N] [--max_shard_size SIZE]
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.formats.tensors import FLOATS
from flax_lite.checkpoints.sentence_transformers import LAYOUT_FILES
from flax_lite.checkpoints.sources.companions import Companions, open_with_companions
from flax_lite.checkpoints.sources.directory import HEAD_FILE, write_directory
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.files.names import TOKENIZER_FILES
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
    max_shard_size: int | str | None = None,
) -> list[str]:
    """Writes a checkpoint to a directory: the weights with every head, config.json, and what results depend on beside.

    That is the tokenizer's files, and those by which sentence-transformers knows pooling, normalization, length and
    prompts, if they are such as can be read here.

    Args:
        source: any SOURCE.
        target: a directory, made or replaced as a whole. Of another model there, no such file stays; a tokenizer does
            where the source has none.
        to: "safetensors" (PyTorch's names), "flax", or both.
        dtype: of the weights written; each keeps its own if None.
        num_hidden_layers: another depth, for an ALBERT of one group.
        max_shard_size: bytes in one file, or as "5GB"; one file if None.

    Returns:
        What was done, in lines for a person.

    Raises:
        ValueError: if the source cannot be read or the target cannot be written.
    """
    in_place = Path(source).exists() and Path(target).exists() and Path(source).samefile(target)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, beside = open_with_companions(source, Path(folder))
        return _write(checkpoint, beside, target, tuple(to), dtype, num_hidden_layers, max_shard_size, in_place)


def _write(
    checkpoint: Checkpoint,
    beside: Companions,
    target: str,
    to: tuple[str, ...],
    dtype: str | None,
    num_hidden_layers: int | None,
    max_shard_size: int | str | None,
    in_place: bool,
) -> list[str]:
    contents = survey(checkpoint)
    wanted = contents.target
    if dtype is not None:
        wanted = {path: leaf.update(dtype=FLOATS[dtype]) for path, leaf in wanted.items()}
    loaded = read_whole(checkpoint, dataclasses.replace(contents, target=wanted))
    config = of_depth(contents.config, num_hidden_layers)
    more: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as folder:
        head = open_head(checkpoint)
        if head is not None:
            more = {HEAD_FILE: Path(folder) / HEAD_FILE}
            write_head(more[HEAD_FILE], head, dtype)
        replaces = () if in_place else (*LAYOUT_FILES, *(TOKENIZER_FILES if beside.tokenizer else ()))
        files = {**beside.tokenizer, **beside.sentences, **more}
        write_directory(target, loaded.params, config, to, files, max_shard_size, replaces)
    written = ", ".join((*to, *more, *beside.sentences))
    return [
        f"read {checkpoint.path}: {contents.describe()}",
        *loaded.remarks,
        *([] if in_place else beside.left),
        f"wrote {target}: {written}, tokenizer files: {', '.join(beside.tokenizer) or 'none, for the source has none'}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 2 for what cannot be converted."""
    parser = argparse.ArgumentParser(
        prog="python -m flax_lite.convert",
        description="Rewrites a checkpoint in another format, with all the heads it holds.",
    )
    parser.add_argument("source", help="directory, work directory (@STEP, @best), TensorFlow checkpoint, or hub id")
    parser.add_argument("target", help="directory to write; replaced as a whole if it exists")
    parser.add_argument("--to", nargs="+", choices=("flax", "safetensors"), required=True, help="one format or both")
    parser.add_argument("--dtype", choices=tuple(FLOATS), help="dtype of the weights written; default: each its own")
    parser.add_argument("--layers", type=int, help="another depth, for an ALBERT whose layers are all one")
    parser.add_argument("--max_shard_size", help="largest file, as 5GB or 500MB; default: one file")
    parser.add_argument("--verbose", action="store_true", help="list every tensor that is written")
    given = parser.parse_args(argv)
    try:
        lines = convert(
            given.source,
            given.target,
            given.to,
            dtype=given.dtype,
            num_hidden_layers=given.layers,
            max_shard_size=given.max_shard_size,
        )
        if given.verbose:
            tensors = open_source(given.target).tensors
            lines += [f"  {name} {list(tensor.shape)} {tensor.dtype}" for name, tensor in tensors.items()]
    except (ValueError, OSError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
