"""The comparative study: BERT-base, ALBERT-base, DistilBERT, distilALBERT, BERT-small, MiniLM-L6 and what they cost.

    python -m benchmarks.study [--data DIR] [--checkpoints ROW=SOURCE ...] [--output DIR]

Weights are random but for quality, which is measured for the rows that --checkpoints names, on STS-B's development set:
a regression head's scores, or the cosines of a sentence encoder's mean-pooled vectors. Other scores are published ones,
and marked so. --data: a folder with glue/STS-B/dev.tsv and tokenizers/{albert,bert-base-uncased}; without it the pass
takes random ids of such lengths.

Without --rows, of BERT-large, ALBERT-large and ALBERT-xxlarge only sizes are taken, for what the papers claim of them.
Each measurement of a row has a process of its own. What the output folder's study.json has already, of the same
device, versions, commit and settings, is not measured again, quality apart. Writes study.json, study.md with its
pictures, and study.html, which holds all of it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import series as kept
from benchmarks.circumstances import beginning
from benchmarks.peers.sentences import real_rows
from benchmarks.study import quality
from benchmarks.study.measure import Settings
from benchmarks.study.models import MODELS
from benchmarks.study.page import markdown, page
from benchmarks.study.plots import draw_all
from benchmarks.study.results import FILE, Entry, entry_of, has
from benchmarks.study.worker import PARTS, ask, question
from train.errors import UserError

_START_SECONDS = 300.0
_LIMIT_SECONDS = 1800.0  # of one measurement
_SMOKE = Settings(lengths=(8, 16), batch_lengths=(16,), batch=4, train_length=16, repeats=2, pairs=6, smoke=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the output folder does not have, writes what there is after each; 1 if something had no figure."""
    given = _arguments(argv)
    try:
        settings = _settings(given)
        checkpoints = _checkpoints(given, settings)
        wanted = _wanted(given, settings, checkpoints)
        (circumstances,) = ask([{"part": "circumstances"}], _START_SECONDS)
        if isinstance(circumstances, str):
            raise UserError(circumstances)
        known = kept.read(given.output / FILE, entry_of)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.status
    series = kept.series_of(known, {**circumstances, "smoke": given.smoke, "settings": settings.told()})
    # A checkpoint may have changed under its name.
    missing = [asked for asked in wanted if asked["part"] == "quality" or not has(series, asked)]
    # A smoke run measures nothing; one process is soonest done.
    for questions in [missing] if given.smoke and missing else [[asked] for asked in missing]:
        for entry in _entries(questions):
            series.put(entry, lambda one: one.place)
            told = entry.outcome if isinstance(entry.outcome, str) else "done"
            print(f"{entry.asked['row']}, {entry.asked['part']}: {told}", file=sys.stderr, flush=True)
        kept.write(given.output / FILE, known)
    kept.write(given.output / FILE, known)
    pictures = draw_all(series)
    for one in pictures:
        (given.output / one.name).write_bytes(one.png)
    (given.output / "study.md").write_text(markdown(series, pictures), encoding="utf-8")
    (given.output / "study.html").write_text(page(series, pictures), encoding="utf-8")
    print(given.output / "study.html")
    return int(not all(has(series, asked) for asked in wanted))


def _entries(questions: Sequence[Mapping[str, Any]]) -> list[Entry]:
    began = beginning()
    answers = ask(questions, _LIMIT_SECONDS, smoke=questions[0]["settings"]["smoke"])
    return [Entry(asked, **began, outcome=answer) for asked, answer in zip(questions, answers, strict=True)]


def _settings(given: argparse.Namespace) -> Settings:
    base = _SMOKE if given.smoke else Settings()
    own = {
        "lengths": given.lengths and tuple(sorted(set(given.lengths))),
        "repeats": given.repeats,
        "pairs": given.pairs,
    }
    longest = MODELS["bert-base"].config().max_position_embeddings
    for name, least in {"lengths": 2, "repeats": 1, "pairs": 0}.items():
        value = own[name][0] if name == "lengths" and own[name] else own[name]
        if value is not None and value < least:
            raise UserError(f"--{name}: expected {least} or more")
    if own["lengths"] and own["lengths"][-1] > longest:
        raise UserError(f"--lengths: these models end at {longest} tokens")
    changed = {name: value for name, value in own.items() if value is not None}
    return Settings(**{**vars(base), **changed, "data": given.data and str(given.data)})


def _checkpoints(given: argparse.Namespace, settings: Settings) -> dict[str, str]:
    """The source of each row that has one, all of them usable."""
    found = {}
    for text in given.checkpoints:
        row, _, source = text.partition("=")
        if row not in MODELS or not source:
            raise UserError(f"--checkpoints {text}: expected ROW=SOURCE, ROW one of {', '.join(MODELS)}")
        if settings.data is None:
            raise UserError("--checkpoints: give --data too, the folder with glue/STS-B")
        if given.rows and row not in given.rows:
            raise UserError(f"--checkpoints {text}: {row} is not among --rows {' '.join(given.rows)}")
        if not given.rows and not MODELS[row].is_compared:
            raise UserError(f"--checkpoints {text}: of {row} only sizes are taken; name it in --rows")
        quality.check(row, source, MODELS[row].config(smoke=settings.smoke))
        found[row] = source
    return found


def _wanted(given: argparse.Namespace, settings: Settings, checkpoints: dict[str, str]) -> list[dict[str, Any]]:
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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), help="measurements; all if not given")
    parser.add_argument("--data", type=Path, help="folder with STS-B and tokenizers")
    parser.add_argument("--checkpoints", nargs="+", default=[], metavar="ROW=SOURCE", help="directory or hub id")
    parser.add_argument("--lengths", nargs="+", type=int, help="tokens of single rows; 32 128 512 if not given")
    parser.add_argument("--repeats", type=int, help="runs after the first, fewer after 20 s of them; 10 if not given")
    parser.add_argument("--pairs", type=int, help="of STS-B's development set in the pass, 0 for all; 200 if not given")
    parser.add_argument("--smoke", action="store_true", help="tiny models, in seconds")
    parser.add_argument("--output", type=Path, default=Path("runs/study"), help="folder of the results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
