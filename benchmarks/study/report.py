"""The study as tables of cells, which Markdown and HTML format differently."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from benchmarks.harness.circumstances import device_title
from benchmarks.harness.results import Series
from benchmarks.harness.timing import spread
from benchmarks.study import published
from benchmarks.study.claims import CLAIMS, judge
from benchmarks.study.decisions import decide
from benchmarks.study.models import MODELS
from benchmarks.study.results import Figures, Row

Kind = Literal["text", "measured", "published", "missing", "good", "bad"]
_VERDICTS: dict[str, Kind] = {"reproduced": "good", "not reproduced": "bad", "not run": "missing"}
DECISIONS = "Which to take"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text, its origin, and the number of its source in the list of sources."""

    text: str
    kind: Kind = "text"
    source: int | None = None


_NOT_RUN = Cell("not run", "missing")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with its title and an explanation."""

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def sources() -> list[str]:
    """Returns the citations in the order of their numbers."""
    return [f"{one.citation}. {one.url}. Mean of: {one.tasks}." for one in published.SOURCES.values()]


def circumstances(series: Series[Row]) -> str:
    """Formats machine, versions and load as one sentence."""
    about = series.circumstances
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    loads = [row.load_before for row in series.rows if row.load_before is not None] or [0.0]
    device = device_title(about) if about["platform"] == "cpu" else f"{about['device_count']} x {device_title(about)}"
    smoke = "TINY MODELS: a smoke run, whose figures mean nothing. " if about["smoke"] else ""
    return (
        f"{smoke}Measured on {device}, commit {about['commit']}, Python {about['python']}, {versions}; XLA_FLAGS "
        f"{about['xla_flags'] or 'none'}; load of the machine before measurements {min(loads):.2f} to {max(loads):.2f}."
    )


def rows_of(series: Series[Row]) -> list[str]:
    """Returns the encoders that have a row, in the order of MODELS."""
    return [name for name in MODELS if any(row.asked["row"] == name for row in series.rows)]


def tables(series: Series[Row]) -> list[Table]:
    """Returns all tables of the study."""
    figures, rows = Figures(series.rows), rows_of(series)
    compared = [row for row in rows if any(figures.part(row, part) for part in ("latency", "training", "pass", "disk"))]
    compared = compared or rows
    found = [_sizes(figures, rows), _speed(figures, compared), _cost(figures, compared), _quality(figures, rows)]
    failed = [row for row in series.rows if row.failed]
    return [*found, _claims(figures), _decisions(figures, rows), *([_failures(failed)] if failed else [])]


def _table(title: str, note: str, rows: Iterable[str], columns: Mapping[str, Callable[[str], Cell]]) -> Table:
    """Builds a table with a row per encoder; each column is a function of the encoder."""
    cells = [[Cell(MODELS[row].title), *(cell(row) for cell in columns.values())] for row in rows]
    return Table(title, note, ("", *columns), cells)


def _measured(value: float | None, text: Callable[[float], str]) -> Cell:
    return _NOT_RUN if value is None else Cell(text(value), "measured")


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f} M" if value < 1e8 else f"{value / 1e6:.1f} M"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:.1f} MB"


def _first(figures: Figures, rows: Sequence[str], part: str) -> Mapping[str, Any] | None:
    return next((found for row in rows if (found := figures.part(row, part))), None)


def _sizes(figures: Figures, rows: Sequence[str]) -> Table:
    def count(row: str, part: str) -> Cell:
        if (found := figures.part(row, "size")) is None:
            return _NOT_RUN
        return _measured(found["parts"][part], _millions) if part in found["parts"] else Cell("none", "measured")

    def flops(row: str, length: str) -> Cell:
        found = figures.part(row, "size") or {"flops_per_token": {}}
        return _measured(found["flops_per_token"].get(length), lambda value: f"{value / 1e6:.1f} M")

    parts = {"embeddings": "embeddings", "layers": "layer", "pooler": "pooler", "masked-LM head": "masked_lm_head"}
    lengths = (_first(figures, rows, "size") or {"flops_per_token": ()})["flops_per_token"]
    columns: dict[str, Callable[[str], Cell]] = {
        "parameters": lambda row: _measured(figures.number(row, "size", "parameters"), _millions),
        **{head: lambda row, part=part: count(row, part) for head, part in parts.items()},
        "on disk": lambda row: _measured(figures.number(row, "disk", "bytes"), _megabytes),
        **{f"FLOPs a token, {length}": lambda row, length=length: flops(row, length) for length in lengths},
    }
    note = (
        "Parameters of the encoder with its pooler, if it has one; a shared layer counts once, a tied decoder in "
        "the embeddings. On disk: the float32 file of the masked-LM model. FLOPs of a forward pass per token of a row "
        "of that length, counted from the configuration."
    )
    return _table("Size and work", note, rows, columns)


def _speed(figures: Figures, rows: Sequence[str]) -> Table:
    def latency(row: str, length: str) -> Cell:
        seconds = (figures.part(row, "latency") or {"seconds": {}})["seconds"].get(length)
        if not seconds or not (found := spread([1000 * one for one in seconds])):
            return _NOT_RUN
        return Cell(f"{found.median:.1f} ms ({found.low:.1f} to {found.high:.1f}, {len(seconds)})", "measured")

    def rate(row: str, length: str) -> Cell:
        return _measured(figures.rate(row, "throughput", length), "{:,.0f}".format)

    def execution(row: str) -> Cell:
        found = figures.part(row, "latency")
        return Cell(found["execution"], "measured") if found else _NOT_RUN

    single, batched = (
        (_first(figures, rows, part) or {"seconds": ()})["seconds"] for part in ("latency", "throughput")
    )
    columns: dict[str, Callable[[str], Cell]] = {
        **{f"one row of {length}": lambda row, length=length: latency(row, length) for length in single},
        **{f"tokens/s, batches of {length}": lambda row, length=length: rate(row, length) for length in batched},
        "execution": execution,
    }
    note = (
        "Latency of a row without padding at batch 1, and tokens per second in batches whose rows have T to T/4 tokens "
        "(padding not counted), until the hidden states are on the host: median, and in parentheses the quartiles "
        "(minimum and maximum with fewer than four runs) and the number of runs. Random weights; outputs are compared "
        "between runs and between padded and unpadded rows. Last: the execution that the automatic policy chose."
    )
    return _table("Latency and throughput", note, rows, columns)


def _cost(figures: Figures, rows: Sequence[str]) -> Table:
    def ratio(row: str) -> float | None:
        base, seconds = figures.number("bert-base", "pass", "warm"), figures.number(row, "pass", "warm")
        return base and seconds and base / seconds

    columns: dict[str, Callable[[str], Cell]] = {
        "pass, cold": lambda row: _measured(figures.number(row, "pass", "cold"), "{:.3g} s".format),
        "pass, warm": lambda row: _measured(figures.number(row, "pass", "warm"), "{:.3g} s".format),
        "BERT-base's time over it": lambda row: _measured(ratio(row), "{:.2f} x".format),
        "training, tokens/s": lambda row: _measured(figures.rate(row, "training"), "{:,.0f}".format),
        "memory, inference": lambda row: _measured(figures.number(row, "inference_memory", "bytes"), _megabytes),
        "memory, training": lambda row: _measured(figures.number(row, "training_memory", "bytes"), _megabytes),
    }
    about = _first(figures, rows, "pass")
    pairs = f"{about['pairs']} rows of {about['text']}" if about else "not run"
    note = (
        f"The pass of the DistilBERT paper: a regression head scores pairs one at a time ({pairs}), padded to buckets; "
        "cold with all compilations, warm the median of the passes after it. Training: masked words, AdamW, dropout of "
        "0.1, tokens per second without padding. Peak memory while batches of the same shape run: arrays and "
        "temporaries; on a CPU from the resident set, on accelerators by their runtime, since the process started."
    )
    return _table("STS-B pass, training, memory", note, rows, columns)


def _quality(figures: Figures, rows: Sequence[str]) -> Table:
    numbers = {name: number for number, name in enumerate(published.SOURCES, start=1)}
    found = []
    for row in rows:
        head = [Cell(MODELS[row].title), _NOT_RUN]
        if part := figures.part(row, "quality"):
            pearson = "" if part["pearson"] is None else f"Pearson {part['pearson']:.1f}, "
            about = f"{part['method']}, {part['pairs']} pairs, {part['source']}"
            head[1] = Cell(f"{pearson}Spearman {part['spearman']:.1f} ({about})", "measured")
        if row not in published.SCORES:
            found.append([*head, Cell("none", "missing"), Cell(""), Cell("")])
        for one in published.SCORES.get(row, ()):
            share, number = one.of_bert_base, numbers[one.source]
            score = f"{one.value}{f' ({one.version})' if one.version else ''}"
            percent = "not given" if share is None else f"{share:.1%}"
            cells = [Cell(score, "published", number), Cell(percent, "published", number)]
            found.append([*head, *cells, Cell(published.SOURCES[one.source].tasks)])
    note = (
        "Published scores were not measured here; they are in italics with a dagger and the number of their source. "
        "Sources average different tasks, so scores of different sources are not comparable; the share of BERT-base's "
        "score in the same source is."
    )
    heads = ("", "STS-B dev, measured", "published score", "of BERT-base's there", "tasks")
    return Table("Quality", note, heads, found)


def _claims(figures: Figures) -> Table:
    found = []
    for one in judge(figures):
        claim = one.claim
        claimed = "" if claim.claimed is None else claim.unit.format(claim.claimed)
        measured = Cell(one.measured, "measured") if one.measured else Cell(claim.needs and f"needs {claim.needs}")
        head = [Cell(f"{claim.paper}, {claim.place}"), Cell(claim.text), Cell(claimed, "published"), measured]
        found.append([*head, Cell(one.verdict, _VERDICTS[one.verdict]), Cell(claim.rule.text if claim.rule else "")])
    note = f"{len(CLAIMS)} claims. A claim without a measurement here is not run, whatever others have found."
    heads = ("paper", "claim", "claimed", "measured", "verdict", "reproduced if")
    return Table("What the papers claim", note, heads, found)


def _decisions(figures: Figures, rows: Sequence[str]) -> Table:
    found = [[Cell(text) for text in dataclasses.astuple(one)] for one in decide(figures, rows)]
    note = (
        "Choices with a figure follow from the measurements above, on this machine; the others from published results."
    )
    return Table(DECISIONS, note, ("scarce is", "take", "because", "unless"), found)


def _failures(failed: Sequence[Row]) -> Table:
    found = [[Cell(MODELS[row.asked["row"]].title), Cell(row.asked["part"]), Cell(str(row.outcome))] for row in failed]
    return Table("Not measured", "Measurements that failed.", ("", "measurement", "reason"), found)
