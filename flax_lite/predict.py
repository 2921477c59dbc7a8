"""Predicts from lines of text: reads files or standard input, and writes one JSON line per input line, in order.

python -m flax_lite.predict --task TASK --model SOURCE [FILE ...]

A line is a text; for text-classification, text TAB text_pair; for question-answering, question TAB context. A line that
starts with "{" is JSON with those keys ("text" for a single text).
"""

import argparse
import bisect
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, TextIO

import numpy as np

from flax_lite.checkpoints.sentence_transformers import POOLINGS
from flax_lite.files.output import discard_output
from flax_lite.files.strict_json import parse_json
from flax_lite.layers.execution import Execution
from flax_lite.pipelines import TASKS, pipeline
from flax_lite.pipelines.base import CHUNK_SIZE, InputError
from flax_lite.pipelines.token_classification import STRATEGIES

# Columns of a line by task; the other tasks take a single text.
_COLUMNS = {"text-classification": ("text", "text_pair"), "question-answering": ("question", "context")}
_NEEDS_ALL = frozenset({"question-answering"})
_OPTIONS = ("top_k", "function_to_apply", "aggregation_strategy", "handle_impossible_answer", "pooling", "normalize")


def parse_line(line: str, task: str) -> Any:
    """Returns the pipeline's input from a line.

    Raises:
        ValueError: if the line has other columns or keys than the task takes.
    """
    columns = _COLUMNS.get(task, ("text",))
    if line.lstrip().startswith("{"):
        given = parse_json(line.encode())
        unknown = given.keys() - set(columns)
        if unknown or not all(isinstance(value, str) for value in given.values()):
            raise ValueError(f"expected JSON with strings under {' and '.join(columns)}, got keys {', '.join(given)}")
    else:
        # A tab in a single text is white space; the last of several columns may contain tabs too.
        given = dict(zip(columns, line.split("\t", len(columns) - 1), strict=False))
    missing = [name for name in columns if name not in given]
    if missing and (task in _NEEDS_ALL or missing[0] == columns[0]):
        raise ValueError(f"{task} needs {' and '.join(columns)} in each line: separated by a tab, or as JSON")
    return given if len(columns) > 1 else given[columns[0]]


class Lines:
    """The inputs in files, one per line, with their locations."""

    def __init__(self, files: Sequence[str], task: str) -> None:
        """Opens nothing yet.

        Args:
            files: file names, "-" for standard input; if empty, standard input.
            task: task of the pipeline.
        """
        self._files, self._task = files or ("-",), task
        self._firsts: list[int] = []
        self._count = 0

    def __iter__(self) -> Iterator[Any]:
        for name in self._files:
            self._firsts.append(self._count)
            with _open(name) as file:
                for line in file:
                    yield self._input(line)
                    self._count += 1

    def location(self, number: int) -> str:
        """Returns the file and line of an input that was read."""
        file = bisect.bisect_right(self._firsts, number) - 1
        name = "standard input" if self._files[file] == "-" else self._files[file]
        return f"{name}, line {number - self._firsts[file] + 1}"

    def _input(self, line: bytes | str) -> Any:
        try:
            text = line.decode("utf-8") if isinstance(line, bytes) else line
            # Removes a byte order mark, which may also be in the middle of concatenated files.
            return parse_line(text.removesuffix("\n").removesuffix("\r").removeprefix("\ufeff"), self._task)
        except ValueError as error:
            raise InputError(self._count, f"cannot be read: {error}") from None


def _open(name: str) -> contextlib.AbstractContextManager[BinaryIO | TextIO]:
    """Opens a file in binary mode: it is UTF-8 in any locale, and only line feeds end a line."""
    if name == "-":
        return contextlib.nullcontext(getattr(sys.stdin, "buffer", sys.stdin))
    return open(os.path.expanduser(name), "rb")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns exit status 2 for a user error."""
    args = _parser().parse_args(argv)
    options = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    lines = Lines(args.files, args.task)
    try:
        pipe = pipeline(
            args.task,
            args.model,
            tokenizer=args.tokenizer,
            execution=Execution(dtype=args.dtype, unroll="auto"),
            batch_size=args.batch_size,
            max_length=args.max_length,
            **options,
        )
        for result in pipe.stream(lines, chunk_size=args.chunk_size):
            sys.stdout.write(json.dumps(result, ensure_ascii=False, allow_nan=False, default=np.ndarray.tolist) + "\n")
            # A reader at the other end of a pipe gets each chunk as soon as it is done.
            sys.stdout.flush()
    except InputError as error:
        sys.stderr.write(f"predict: {lines.location(error.number)}: {error.problem}\n")
        return 2
    except BrokenPipeError:  # the reader, such as `| head`, has closed the pipe
        discard_output()
        return 0
    except (TypeError, ValueError, OSError) as error:  # TypeError: an option that the task does not have
        sys.stderr.write(f"predict: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flax_lite.predict",
        description="Predicts from lines of text and writes one JSON line per input line. A line is a text; text TAB "
        "text_pair for text-classification; question TAB context for question-answering; or JSON with those keys.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="text files; - (default) for standard input")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--model", required=True, metavar="SOURCE", help="directory, work directory, or hub id")
    parser.add_argument("--tokenizer", metavar="SOURCE", help="default: that of the model")
    parser.add_argument("--batch_size", type=int, help="rows per batch; default: by a number of tokens")
    parser.add_argument("--max_length", type=int, help="maximum tokens of a row; default: the model's maximum")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="float32")
    parser.add_argument(
        "--chunk_size",
        type=int,
        default=CHUNK_SIZE,
        help="lines read at once; 1 answers each line before reading the next",
    )
    parser.add_argument("--top_k", type=int, help="number of results for each input")
    parser.add_argument("--function_to_apply", choices=("softmax", "sigmoid", "none"), help="for text-classification")
    parser.add_argument("--aggregation_strategy", choices=STRATEGIES, help="for token-classification")
    parser.add_argument(
        "--handle_impossible_answer", action="store_true", default=None, help="for question-answering: allow no answer"
    )
    parser.add_argument("--pooling", choices=POOLINGS, help="for sentence-embedding")
    parser.add_argument("--normalize", action="store_true", default=None, help="for sentence-embedding")
    return parser


if __name__ == "__main__":
    sys.exit(main())
