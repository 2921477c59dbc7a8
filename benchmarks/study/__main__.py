"""The comparative study: BERT-base, ALBERT-base, DistilBERT, distilALBERT, BERT-small and MiniLM-L6.

    python -m benchmarks.study [--data DIR] [--checkpoints ROW=SOURCE ...] [--output DIR]

Weights are random except for quality, which is measured for the rows in --checkpoints, on STS-B's development set:
a regression head's scores, or the cosines of a sentence encoder's mean-pooled vectors. Other scores are published ones,
and marked as such. --data: a directory with glue/STS-B/dev.tsv and tokenizers/{albert,bert-base-uncased}; without it
the STS-B pass takes random ids of the same lengths.

Without --rows, only the sizes of BERT-large, ALBERT-large and ALBERT-xxlarge are measured, for the papers' claims.
Each measurement of a row runs in a process of its own. A measurement that the output directory's study.json already
has, with the same device, versions, commit and settings, is not repeated, except for quality. Writes study.json,
study.md with its plots, and study.html, which contains all of it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import command
from benchmarks.harness.circumstances import moment
from benchmarks.harness.results import Results
from benchmarks.harness.sentences import real_rows
from benchmarks.study import quality
from benchmarks.study.measure import Settings
from benchmarks.study.models import MODELS
from benchmarks.study.page import markdown, page
from benchmarks.study.plots import draw_all
from benchmarks.study.results import Row, has
from benchmarks.study.worker import PARTS, ask, question
from train.errors import UserError

NAME = "study"
_START_SECONDS = 300.0
_LIMIT_SECONDS = 1800.0  # of one measurement
_SMOKE = Settings(lengths=(8, 16), batch_lengths=(16,), batch=4, train_length=16, repeats=2, pairs=6, smoke=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if a measurement failed, or 2 for a user's mistake."""
    return command.run(NAME, _run, _arguments(argv))


def _run(given: argparse.Namespace) -> int:
    if given.report:
        return _write_report(given.output, Results(given.report, Row), given.report.stem)
    settings = _settings(given)
    checkpoints = _checkpoints(given, settings)
    wanted = _questions(given, settings, checkpoints)
    (circumstances,) = ask([{"part": "circumstances"}], _START_SECONDS)
    if isinstance(circumstances, str):
        raise UserError(circumstances)
    about = {**circumstances, "smoke": given.smoke, "settings": settings.summary()}
    results = Results(given.output / f"{NAME}.json", Row).select(about)
    # A checkpoint may have changed under its name, so quality is always measured.
    missing = [asked for asked in wanted if asked["part"] == "quality" or not has(results.current, asked)]
    # A smoke run measures nothing, and one process is fastest.
    for questions in [missing] if given.smoke and missing else [[asked] for asked in missing]:
        when = moment()
        answers = ask(questions, _LIMIT_SECONDS, smoke=given.smoke)
        for asked, answer in zip(questions, answers, strict=True):
            row = Row(asked=asked, **when, outcome=answer)
            results.put(row)
            text = command.outcome_text(row, lambda _: "done")
            print(f"{asked['row']}, {asked['part']}: {text}", file=sys.stderr, flush=True)
    results.write()
    _write_report(given.output, results, NAME)
    return int(not all(has(results.current, asked) for asked in wanted))


def _write_report(folder: Path, results: Results[Row], stem: str) -> int:
    plots = draw_all(results.current, stem)
    command.write_text(folder / f"{stem}.md", markdown(results.current, plots))
    command.write_text(folder / f"{stem}.html", page(results.current, plots))
    for one in plots:
        (folder / one.name).write_bytes(one.png)
    print(folder / f"{stem}.html")
    return 0


def _settings(given: argparse.Namespace) -> Settings:
    base = _SMOKE if given.smoke else Settings()
    lengths = given.lengths and tuple(sorted(set(given.lengths)))
    changes = {"lengths": lengths, "repeats": given.repeats, "pairs": given.pairs}
    changes = {name: value for name, value in changes.items() if value is not None}
    longest = MODELS["bert-base"].config().max_position_embeddings
    for name, least in {"lengths": 2, "repeats": 1, "pairs": 0}.items():
        if name in changes and (lengths[0] if name == "lengths" else changes[name]) < least:
            raise UserError(f"--{name}: expected {least} or more")
    if lengths and lengths[-1] > longest:
        raise UserError(f"--lengths: these models end at {longest} tokens")
    return Settings(**{**vars(base), **changes, "data": given.data and str(given.data)})


def _checkpoints(given: argparse.Namespace, settings: Settings) -> dict[str, str]:
    """Parses --checkpoints to the source of each row, and checks all sources."""
    found = {}
    for text in given.checkpoints:
        row, _, source = text.partition("=")
        if row not in MODELS or not source:
            raise UserError(f"--checkpoints {text}: expected ROW=SOURCE, ROW one of {', '.join(MODELS)}")
        if settings.data is None:
            raise UserError("--checkpoints: give --data too, the directory with glue/STS-B")
        if given.rows and row not in given.rows:
            raise UserError(f"--checkpoints {text}: {row} is not among --rows {' '.join(given.rows)}")
        if not given.rows and not MODELS[row].is_compared:
            raise UserError(f"--checkpoints {text}: of {row} only sizes are measured; name it in --rows")
        quality.check(row, source, MODELS[row].config(smoke=settings.smoke))
        found[row] = source
    return found


def _questions(
    given: argparse.Namespace, settings: Settings, checkpoints: Mapping[str, str]
) -> list[Mapping[str, Any]]:
    rows = given.rows or list(MODELS)
    if unknown := [row for row in rows if row not in MODELS]:
        raise UserError(f"--rows {' '.join(unknown)}: there is no such row; there are {', '.join(MODELS)}")
    if given.parts and set(given.parts) == {"quality"} and not checkpoints:
        raise UserError("--parts quality: give --checkpoints ROW=SOURCE too")
    if settings.data:
        for tokenizer in {MODELS[row].tokenizer for row in rows}:
            real_rows(Path(settings.data), tokenizer, 1)
    return [
        question(row, part, settings, checkpoints.get(row))
        for row in rows
        for part in given.parts or PARTS
        if (given.rows or MODELS[row].is_compared or part == "size") and (part != "quality" or row in checkpoints)
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.make_parser(NAME, __doc__, smoke="tiny models, in seconds")
    add = parser.add_argument
    add("--rows", nargs="+", help=f"of {', '.join(MODELS)}")
    add("--parts", nargs="+", choices=tuple(PARTS), help="measurements; default: all")
    add("--data", type=Path, help="directory with STS-B and tokenizers")
    add("--checkpoints", nargs="+", default=[], metavar="ROW=SOURCE", help="directory or hub id")
    add("--lengths", nargs="+", type=int, help="tokens of single rows; default: 32 128 512")
    add("--repeats", type=int, help="runs after the first, fewer after 20 s of them; default: 10")
    add("--pairs", type=int, help="of STS-B's development set in the pass, 0 for all; default: 200")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
