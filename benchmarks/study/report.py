"""The study as tables of cells, which Markdown and HTML write each in its way."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

from benchmarks.circumstances import place
from benchmarks.series import Series
from benchmarks.spread import spread
from benchmarks.study import published
from benchmarks.study.claims import CLAIMS, judge
from benchmarks.study.decisions import decide
from benchmarks.study.models import MODELS
from benchmarks.study.results import Entry, Figures

Kind = Literal["text", "measured", "published", "missing", "good", "bad"]
_VERDICTS: dict[str, Kind] = {"reproduced": "good", "not reproduced": "bad", "not run": "missing"}
_NOT_RUN = "not run"
DECISIONS = "Which to take"


@dataclasses.dataclass(frozen=True)
class Cell:
    """Text, where it is from, and the number of its source in the list below."""

    text: str
    kind: Kind = "text"
    source: int | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table under a title, with what its reader has to know."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def sources() -> list[str]:
    """The citations, in the order of their numbers."""
    return [f"{one.citation}. {one.url}. Mean of: {one.tasks}." for one in published.SOURCES.values()]


def circumstances(series: Series[Entry]) -> str:
    """A sentence on machine, versions and load."""
    about = series.circumstances
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    loads = [one.load_before for one in series.rows] or [0.0]
    where = place(about) if about["platform"] == "cpu" else f"{about['device_count']} x {place(about)}"
    sizes = "TINY MODELS: a smoke run, whose figures say nothing. " if about["smoke"] else ""
    return (
        f"{sizes}Measured on {where}, commit {about['commit']}, Python {about['python']}, {versions}; XLA_FLAGS "
        f"{about['xla_flags'] or 'none'}; load of the machine before measurements {min(loads):.2f} to {max(loads):.2f}."
    )


def rows_of(series: Series[Entry]) -> list[str]:
    """Rows that have an entry, in the order of MODELS."""
    return [row for row in MODELS if any(one.asked["row"] == row for one in series.rows)]


def tables(series: Series[Entry]) -> list[Table]:
    """The whole study."""
    figures, rows = Figures(series.rows), rows_of(series)
    compared = [row for row in rows if any(figures.part(row, part) for part in ("latency", "training", "pass", "disk"))]
    compared = compared or rows
    found = [_sizes(figures, rows), _speed(figures, compared), _cost(figures, compared), _quality(figures, rows)]
    failed = [one for one in series.rows if isinstance(one.outcome, str)]
    return [*found, _claims(figures), _decisions(figures, rows), *([_failures(failed)] if failed else [])]


def _measured(value: float | None, told: Callable[[float], str]) -> Cell:
    return Cell(_NOT_RUN, "missing") if value is None else Cell(told(value), "measured")


def _title(row: str) -> Cell:
    return Cell(MODELS[row].title)


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f} M" if value < 1e8 else f"{value / 1e6:.1f} M"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:.1f} MB"


def _spread(seconds: Sequence[float] | None) -> Cell:
    """Median, quartiles and number of runs."""
    if not seconds or not (found := spread([1000 * one for one in seconds])):
        return Cell(_NOT_RUN, "missing")
    return Cell(f"{found.median:.1f} ms ({found.low:.1f} to {found.high:.1f}, {len(seconds)})", "measured")


def _sizes(figures: Figures, rows: Sequence[str]) -> Table:
    parts = ("embeddings", "layer", "pooler", "masked_lm_head")
    first = next((part for row in rows if (part := figures.part(row, "size"))), None)
    lengths = list(first["flops_per_token"]) if first else []
    found = []
    for row in rows:
        size = figures.part(row, "size")
        own = (size["parts"].get(part) if size else None for part in parts)
        flops = (size["flops_per_token"].get(length) if size else None for length in lengths)
        found.append(
            [
                _title(row),
                _measured(figures.parameters(row), _millions),
                *(Cell("none", "measured") if size and one is None else _measured(one, _millions) for one in own),
                _measured(figures.disk_bytes(row), _megabytes),
                *(_measured(one, lambda value: f"{value / 1e6:.1f} M") for one in flops),
            ]
        )
    heads = ("", "parameters", "embeddings", "layers", "pooler", "masked-LM head", "on disk")
    note = (
        "Parameters of the encoder with its pooler, where it has one; a shared layer counts once, a tied decoder is in "
        "the embeddings. On disk: the float32 file of the masked-LM model. FLOPs of a forward pass, for a token of a "
        "row of so many, counted from the configuration."
    )
    return Table("Size and work", note, (*heads, *(f"FLOPs a token, {length}" for length in lengths)), found)


def _lengths(figures: Figures, rows: Sequence[str], part: str) -> list[str]:
    return next((list(one["seconds"]) for row in rows if (one := figures.part(row, part))), [])


def _speed(figures: Figures, rows: Sequence[str]) -> Table:
    single, batched = (_lengths(figures, rows, part) for part in ("latency", "throughput"))
    found = []
    for row in rows:
        part: Any = figures.part(row, "latency") or {"seconds": {}}
        times = (_spread(part["seconds"].get(length)) for length in single)
        rates = (_measured(figures.throughput(row, length), "{:,.0f}".format) for length in batched)
        execution = part.get("execution")
        told = Cell(execution, "measured") if execution else Cell(_NOT_RUN, "missing")
        found.append([_title(row), *times, *rates, told])
    heads = (*(f"one row of {one}" for one in single), *(f"tokens/s, batches of {one}" for one in batched))
    note = (
        "Latency of a whole row at batch 1 and real tokens a second in batches whose rows have T to T/4 tokens, until "
        "the hidden states lie on the host: median, and in brackets the quartiles (below four runs, least and most) "
        "and the number of runs. Random weights; outputs are compared between runs and between padded and unpadded "
        "rows. Last: what the automatic execution came to."
    )
    return Table("Latency and throughput", note, ("", *heads, "execution"), found)


def _cost(figures: Figures, rows: Sequence[str]) -> Table:
    base = figures.warm_pass("bert-base")
    found = [
        [
            _title(row),
            _measured(figures.cold_pass(row), "{:.3g} s".format),
            _measured(figures.warm_pass(row), "{:.3g} s".format),
            _measured(base and (own := figures.warm_pass(row)) and base / own, "{:.2f} x".format),
            _measured(figures.training(row), "{:,.0f}".format),
            *(_measured(figures.memory(row, kind), _megabytes) for kind in ("inference", "training")),
        ]
        for row in rows
    ]
    about = next((one for row in rows if (one := figures.part(row, "pass"))), None)
    what = f"{about['pairs']} rows of {about['text']}" if about else "not run"
    note = (
        f"The pass of the DistilBERT paper: a regression head scores pairs one at a time ({what}), padded to buckets; "
        "cold with all compilations, warm the median of the passes after it. Training: masked words, AdamW, dropout of "
        "0.1, real tokens a second. Memory at most while batches of the same shape run: arrays and temporaries; on CPU "
        "from the resident set, on accelerators as their runtime counts since the process began."
    )
    heads = ("", "pass, cold", "pass, warm", "BERT-base's time over it", "training, tokens/s", "memory, inference")
    return Table("STS-B pass, training, memory", note, (*heads, "memory, training"), found)


def _quality(figures: Figures, rows: Sequence[str]) -> Table:
    numbers = {name: number for number, name in enumerate(published.SOURCES, start=1)}
    found = []
    for row in rows:
        part: Any = figures.part(row, "quality")
        pearson = "" if part is None or part["pearson"] is None else f"Pearson {part['pearson']:.1f}, "
        own = Cell(_NOT_RUN, "missing")
        if part:
            told = (
                f"{pearson}Spearman {part['spearman']:.1f} ({part['method']}, {part['pairs']} pairs, {part['source']})"
            )
            own = Cell(told, "measured")
        for one in published.SCORES.get(row, ()) or (None,):
            if one is None:
                found.append([_title(row), own, Cell("none", "missing"), Cell(""), Cell("")])
                continue
            share = one.of_bert_base
            told = "not given" if share is None else f"{share:.1%}"
            number = numbers[one.source]
            score = f"{one.value}{f' ({one.version})' if one.version else ''}"
            tasks = published.SOURCES[one.source].tasks
            found.append(
                [_title(row), own, Cell(score, "published", number), Cell(told, "published", number), Cell(tasks)]
            )
    note = (
        "Published scores are not ours, and are in italics with a dagger and the number of their source. Sources "
        "average different tasks: compare no two scores of different ones; what can be compared is the share of "
        "BERT-base's score in the same source."
    )
    heads = ("", "STS-B dev, measured", "published score", "of BERT-base's there", "tasks")
    return Table("Quality", note, heads, found)


def _claims(figures: Figures) -> Table:
    found = []
    for one in judge(figures):
        claim = one.claim
        claimed = "" if claim.claimed is None else claim.unit.format(claim.claimed)
        measured = Cell(one.measured, "measured") if one.measured else Cell(claim.needs and f"needs {claim.needs}")
        verdict = Cell(one.verdict, _VERDICTS[one.verdict])
        rule = Cell(claim.rule.text if claim.rule else "")
        found.append(
            [
                Cell(f"{claim.paper}, {claim.place}"),
                Cell(claim.text),
                Cell(claimed, "published"),
                measured,
                verdict,
                rule,
            ]
        )
    note = f"{len(CLAIMS)} claims. A claim whose measurement is missing is not run, whatever others have found."
    heads = ("paper", "claim", "claimed", "measured", "verdict", "reproduced if")
    return Table("What the papers claim", note, heads, found)


def _decisions(figures: Figures, rows: Sequence[str]) -> Table:
    found = [[Cell(text) for text in dataclasses.astuple(one)] for one in decide(figures, rows)]
    note = (
        "Choices with a figure follow from what was measured above, on this machine; the others from what is published."
    )
    return Table(DECISIONS, note, ("scarce is", "take", "because", "unless"), found)


def _failures(failed: Sequence[Entry]) -> Table:
    found = [[Cell(MODELS[one.asked["row"]].title), Cell(one.asked["part"]), Cell(str(one.outcome))] for one in failed]
    return Table("Not measured", "What was tried and gave no figure.", ("", "measurement", "reason"), found)
