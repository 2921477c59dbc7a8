"""The groups as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.circumstances import MOMENT, told
from benchmarks.markdown import table as markdown_table
from benchmarks.peers.measuring import Row
from benchmarks.peers.results import Measured
from benchmarks.peers.rivals import KINDS, MEMORY_KINDS, OURS
from benchmarks.peers.turns import ratios
from benchmarks.peers.work import TITLES
from benchmarks.spread import Spread, spread

_HEADINGS = {
    "forward": "Forward pass",
    "mlm": "Training step, masked words",
    "sts": "STS-B pass, one pair at a time",
    "compile": "Compiling the training step",
    "first_step": "Time to the first step, from the start of the process",
    "memory": "Training step, layers recomputed where an implementation can",
    "memory_small": "The same on fewer rows, where more of them fit",
}
_PREAMBLE = """\
Seconds are medians over rounds of turns, in brackets quartiles (of fewer than four rounds the least and the most). The
ratio is a rival's seconds over those of flax_lite in the same round: above 1, flax_lite is faster. The process of each
implementation keeps the memory that it frees, as this project's jobs do (`train/machine/host_memory.py`), and computes
in the thread that does."""
Cell = Callable[[Measured, Row], str]


def markdown(groups: Sequence[Measured]) -> str:
    """Tables by kind of case, then what stands behind the numbers."""
    parts = [_PREAMBLE]
    for kind in KINDS:
        own = [group for group in groups if group.key.kind == kind]
        if own:
            parts += [f"## {_HEADINGS[kind]}", _told(own), table(own), _descriptions(own)]
    parts += ["## Circumstances", _circumstances(groups)]
    return "\n\n".join(parts) + "\n"


def table(groups: Sequence[Measured]) -> str:
    """Groups of one kind."""
    columns = {**_COMMON, **_EXTRA.get(groups[0].key.kind, {})}
    lines: list[list[str]] = []
    for group in groups:
        name = _model(group)
        lines += [[name, *(cell(group, row) for cell in columns.values())] for row in group.rows.values()]
    return markdown_table(["model", *columns], lines)


def _model(group: Measured) -> str:
    title = TITLES[group.key.model]
    return title if group.key.layers is None else f"{title.removesuffix('-base')}, {group.key.layers} layers"


def _number(found: Spread | None, digits: int) -> str:
    if found is None:
        return ""
    if found.low == found.high:  # one round has no spread
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def ratio(group: Measured, row: Row) -> Spread | None:
    """Of a rival to ours; None for ours, and where one of the two has no times."""
    ours = group.rows[OURS]
    return None if row is ours else ratios(row.seconds, ours.seconds)


def _fact(row: Row, name: str, digits: int) -> str:
    return f"{row.facts[name]:.{digits}f}" if name in row.facts else ""


def _break_even(ours: Row, theirs: Row) -> str:
    """How many steps a rival needs until what it saves in each has paid for its longer compilation."""
    if theirs is ours or not ours.facts or not theirs.facts or not ours.seconds or not theirs.seconds:
        return ""
    head_start = _median(theirs) - _median(ours)
    lost = ours.facts["step_seconds"] - theirs.facts["step_seconds"]
    alike = " (steps within their spread)" if _overlap(ours.facts, theirs.facts) else ""
    if lost <= 0:
        return ("never" if head_start >= 0 else f"{-head_start / -lost:.0f} until ahead" if lost else "always") + alike
    return f"{max(head_start, 0) / lost:.0f}{alike}"


def _overlap(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return one["step_least"] <= other["step_most"] and other["step_least"] <= one["step_most"]


def _median(row: Row) -> float:
    found = spread(row.seconds)
    assert found is not None
    return found.median


def _share(group: Measured, row: Row) -> str:
    ours = group.rows[OURS].facts.get("temporary_mib")
    return f"{row.facts['temporary_mib'] / ours:.1f}" if ours and "temporary_mib" in row.facts else ""


def _rate(group: Measured, row: Row) -> str:
    return f"{group.settings['tokens'] / _median(row):.0f}" if row.seconds else ""


def _told(groups: Sequence[Measured]) -> str:
    """Settings; of each group where they differ."""
    settings = {_model(group): told(group.settings) for group in groups}
    if len(set(settings.values())) == 1:
        return f"{settings.popitem()[1]}."
    return "\n".join(f"- {model}: {own}" for model, own in settings.items())


def _descriptions(groups: Iterable[Measured]) -> str:
    """What is timed of each implementation, its settings, and what it lacks; said once where models agree."""
    lines: dict[str, None] = {}
    for group in groups:
        for row in group.rows.values():
            if row.description:
                lacks = "; ".join(row.description["lacks"]) or "nothing"
                timed, settings = row.description["timed"], row.description["settings"]
                lines[f"- {row.title}: {timed}. {settings}. Differs or lacks: {lacks}."] = None
    return "\n".join(lines)


def _circumstances(groups: Sequence[Measured]) -> str:
    """What was the same for several groups is said once."""
    lines: dict[str, list[str]] = {}
    for group in groups:
        own = {name: group.environment[name] for name in MOMENT}
        shared = told({name: value for name, value in group.environment.items() if name not in own})
        worst = {row.title: max(row.differences.values()) for row in group.rows.values() if row.differences}
        apart = ", ".join(f"{title} {value:.2g}" for title, value in worst.items()) or "nothing compared"
        lines.setdefault(shared, []).append(f"  - {group.key.kind}, {_model(group)}: {told(own)}; {apart}")
    heading = (
        "Of each group its start, the load before it, and the largest difference from flax_lite's, 1 being allowed."
    )
    return "\n".join([heading, "", *(f"- {shared}:\n" + "\n".join(own) for shared, own in lines.items())])


_COMMON: Mapping[str, Cell] = {
    "implementation": lambda _, row: row.title,
    "seconds": lambda _, row: _number(spread(row.seconds), 3) or row.reason,
    "ratio": lambda group, row: _number(ratio(group, row), 2),
}
_MEMORY: Mapping[str, Cell] = {
    "temporary (MiB)": lambda _, row: _fact(row, "temporary_mib", 0),
    "of flax_lite's": _share,
    "tokens/s, padding too": _rate,
}
_EXTRA: Mapping[str, Mapping[str, Cell]] = {
    "sts": {"cold (s)": lambda _, row: "" if row.cold_seconds is None else f"{row.cold_seconds:.2f}"},
    "compile": {
        "a step then (s)": lambda _, row: _fact(row, "step_seconds", 3),
        "steps until flax_lite is behind": lambda group, row: _break_even(group.rows[OURS], row),
    },
    **dict.fromkeys(MEMORY_KINDS, _MEMORY),
}
