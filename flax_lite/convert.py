"""Rewrites a checkpoint in another format, with all the heads it holds.

python -m flax_lite.convert SOURCE TARGET --to flax|safetensors [--dtype DTYPE] [--layers N] [--max_shard_size SIZE]
"""

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from flax_lite.checkpoints.checkpoint import GOOGLE, Checkpoint
from flax_lite.checkpoints.formats.tensors import FLOATS
from flax_lite.checkpoints.sentence_transformers import LAYOUT_FILES, sentence_transformers_files
from flax_lite.checkpoints.sources.directory import HEAD_FILE, write_directory
from flax_lite.checkpoints.sources.resolve import open_source, sentence_transformers_directory, tokenizer_directory
from flax_lite.checkpoints.sources.work_directory import is_work_directory
from flax_lite.files.names import CHINESE_VOCAB_FILE, CONFIG, SENTENCEPIECE_FILE, TOKENIZER_FILES, VOCAB_FILE
from flax_lite.models.contents import read_whole, survey
from flax_lite.models.pretrained import of_depth
from flax_lite.question_answering.beam_files import open_head, write_head

_MOST_NAMED = 10


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
    checkpoint = open_source(source)
    contents = survey(checkpoint)
    wanted = contents.target
    if dtype is not None:
        wanted = {path: leaf.update(dtype=FLOATS[dtype]) for path, leaf in wanted.items()}
    loaded = read_whole(checkpoint, dataclasses.replace(contents, target=wanted))
    config = of_depth(contents.config, num_hidden_layers)
    files, more = tokenizer_files(source), {}
    sentence_files, left = companions(source, checkpoint, files.values())
    in_place = Path(source).exists() and Path(target).exists() and Path(source).samefile(target)
    with tempfile.TemporaryDirectory() as folder:
        head = open_head(checkpoint)
        if head is not None:
            more = {HEAD_FILE: Path(folder) / HEAD_FILE}
            write_head(more[HEAD_FILE], head, dtype)
        replaces = () if in_place else (*LAYOUT_FILES, *(TOKENIZER_FILES if files else ()))
        copied = {**files, **sentence_files, **more}
        write_directory(target, loaded.params, config, tuple(to), copied, max_shard_size, replaces)
    written = ", ".join((*to, *more, *sentence_files))
    return [
        f"read {checkpoint.path}: {contents.describe()}",
        *loaded.remarks,
        *([] if in_place else left),
        f"wrote {target}: {written}, tokenizer files: {', '.join(files) or 'none, for the source has none'}",
    ]


def tokenizer_files(source: str) -> dict[str, Path]:
    """The tokenizer's files beside a SOURCE's weights, by the name Hugging Face reads them under."""
    directory = tokenizer_directory(source)
    directory = directory if directory.is_dir() else directory.parent
    files = {name: directory / name for name in TOKENIZER_FILES if (directory / name).is_file()}
    models = sorted(directory.glob("*.model"))
    if SENTENCEPIECE_FILE not in files and len(models) == 1:  # Google's releases call it 30k-clean.model
        files[SENTENCEPIECE_FILE] = models[0]
    if VOCAB_FILE not in files and (directory / CHINESE_VOCAB_FILE).is_file():
        files[VOCAB_FILE] = directory / CHINESE_VOCAB_FILE
    return files


def companions(
    source: str, checkpoint: Checkpoint, carried: Collection[Path] = ()
) -> tuple[dict[str, Path], list[str]]:
    """The files by which sentence-transformers knows a SOURCE, by their path; and what is left behind of it.

    Args:
        source: any SOURCE.
        checkpoint: as it was opened.
        carried: files of it that are taken along already.

    Returns:
        The files; none where they say what cannot be read here. And lines for a person, which say so, and name what
        else lies in a directory.
    """
    try:
        directory = sentence_transformers_directory(source)
        files, lines = {} if directory is None else sentence_transformers_files(directory), []
    except ValueError as error:
        files, lines = {}, [f"left behind how vectors of texts are made: {error}"]
    directory = Path(source)
    if not directory.is_dir() or is_work_directory(directory):
        return files, lines
    # Of weights, those in another format are left behind too.
    stem, _, ending = checkpoint.path.name.partition(".")
    read = (CONFIG, HEAD_FILE, f"{stem}*.{ending.split('.')[0]}*")
    read += ("*bert_config*.json", "checkpoint") if checkpoint.dialect is GOOGLE else ()
    paths = (checkpoint.path, *carried, *files.values())
    taken = {path.relative_to(directory).parts[0] for path in paths if path.is_relative_to(directory)}
    entries = [entry for entry in sorted(directory.iterdir()) if not entry.name.startswith(".")]
    names = [
        f"{entry.name}{'/' * entry.is_dir()}"
        for entry in entries
        if entry.name not in taken and not any(entry.match(pattern) for pattern in read)
    ]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return files, lines + ([f"left behind: {', '.join(names[:_MOST_NAMED])}{more}"] if names else [])


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
