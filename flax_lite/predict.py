"""Predicts from texts in files or standard input, and writes one JSON line per input, in order, or a table.

python -m flax_lite.predict --task TASK --model SOURCE [FILE ...] [--output FILE] [--all_scores]

A line is a text; for text-classification, text TAB text_pair; for question-answering, question TAB context. A line that
starts with "{" is JSON with those keys ("text" for a single text). Files named .csv, .tsv, .jsonl, .ndjson or .json are
tables, whose columns --text_column and --text_pair_column name.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence

from flax_lite.checkpoints.sentence_transformers import POOLINGS
from flax_lite.files.csv_fields import SEPARATORS
from flax_lite.files.output import discard_output
from flax_lite.layers.execution import Execution
from flax_lite.pipelines import TASKS, pipeline
from flax_lite.pipelines.base import CHUNK_SIZE, InputError
from flax_lite.pipelines.records import Columns, Records, RecordWriter, record_of, to_json
from flax_lite.pipelines.token_classification import STRATEGIES

_OPTIONS = ("top_k", "function_to_apply", "aggregation_strategy", "handle_impossible_answer", "pooling", "normalize")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns exit status 2 for a user error."""
    args = _parser().parse_args(argv)
    inputs: Records | None = None
    try:
        columns = Columns(
            text=args.text_column, text_pair=args.text_pair_column, id=args.id_column, separator=args.separator
        )
        inputs = Records(args.files, args.task, columns)
        _predict(args, inputs)
    except InputError as error:
        location = inputs.location(error.number) if inputs else ""
        sys.stderr.write(f"predict: {location}{': ' * bool(location)}{error.problem}\n")
        return 2
    except BrokenPipeError:  # the reader, such as `| head`, has closed the pipe
        discard_output()
        return 0
    except (TypeError, ValueError, OSError) as error:  # TypeError: an option that the task does not have
        sys.stderr.write(f"predict: {error}\n")
        return 2
    return 0


def _predict(args: argparse.Namespace, inputs: Records) -> None:
    """Writes the result of every input."""
    options = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    if args.all_scores:
        if args.task != "text-classification" or args.top_k is not None:
            raise ValueError("--all_scores is for text-classification, and replaces --top_k")
        options["top_k"] = None
    pipe = pipeline(
        args.task,
        args.model,
        tokenizer=args.tokenizer,
        execution=Execution(dtype=args.dtype, unroll="auto"),
        batch_size=args.batch_size,
        max_length=args.max_length,
        **options,
    )
    labels = pipe.model.config.labels if args.all_scores else None
    is_record = args.output is not None or args.id_column is not None or args.all_scores
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(RecordWriter(args.output, args.files)) if args.output is not None else None
        for result in pipe.stream(inputs, chunk_size=args.chunk_size):
            record = inputs.pending.popleft()
            row = record_of(record, result, labels) if is_record else result
            if writer is not None:
                writer.write(row)
            else:
                sys.stdout.write(to_json(row) + "\n")
                # A reader at the other end of a pipe gets each chunk as soon as it is done.
                sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flax_lite.predict",
        description="Predicts from lines of text and writes one JSON line per input line. A line is a text; text TAB "
        "text_pair for text-classification; question TAB context for question-answering; or JSON with those keys. "
        "Files named .csv, .tsv, .jsonl, .ndjson or .json are tables with named columns.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="text files or tables; - (default) for standard input")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--model", required=True, metavar="SOURCE", help="directory, work directory, or hub id")
    parser.add_argument("--output", metavar="FILE", help="write id, texts and result to FILE: .csv, .tsv or .jsonl")
    parser.add_argument("--all_scores", action="store_true", help="text-classification: write the score of each label")
    parser.add_argument("--text_column", help="column of the text (or question) in a table; default: text (question)")
    parser.add_argument(
        "--text_pair_column", help="column of the second text (or context); default: text_pair if there (context)"
    )
    parser.add_argument("--id_column", help="column of the id in a table; default: the number of the input, from 0")
    parser.add_argument(
        "--separator", choices=("auto", *SEPARATORS), default="auto", help="separator of a CSV or TSV file"
    )
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
