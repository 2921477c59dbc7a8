"""The report in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.harness.circumstances import MOMENT, describe
from benchmarks.harness.tables import markdown_table
from benchmarks.harness.timing import Spread, ratios, spread
from benchmarks.peers.results import Measured, Row
from benchmarks.peers.rivals import FLAX_LITE, KINDS, MEMORY_KINDS
from benchmarks.peers.work import TITLES

_HEADINGS = {
    "forward": "Forward pass",
    "mlm": "Training step, masked words",
    "sts": "STS-B pass, one pair at a time",
    "compile": "Compiling the training step",
    "first_step": "Time to the first step, from the start of the process",
    "memory": "Training step, layers recomputed if the implementation can",
    "memory_small": "The same on fewer rows, so that more implementations fit",
}
_PREAMBLE = """\
Seconds are medians over rounds of turns, in brackets quartiles (minimum and maximum with fewer than four rounds). The
ratio is a rival's seconds over those of flax_lite in the same round: above 1, flax_lite is faster. The process of each
implementation keeps the memory that it frees, as this project's jobs do (`train/machine/host_memory.py`), and computes
in the thread that does so."""
Cell = Callable[[Measured, Row], str]


def markdown(groups: Sequence[Measured]) -> str:
    """Formats tables by kind of case, and the circumstances."""
    parts = [_PREAMBLE]
    for kind in KINDS:
        if of_kind := [group for group in groups if group.key.kind == kind]:
            parts += [f"## {_HEADINGS[kind]}", _settings(of_kind), table(of_kind), _descriptions(of_kind)]
    parts += ["## Circumstances", _circumstances(groups)]
    return "\n\n".join(parts) + "\n"


def table(groups: Sequence[Measured]) -> str:
    """Formats groups of one kind."""
    columns = {**_COMMON, **_EXTRA.get(groups[0].key.kind, {})}
    lines: list[list[str]] = []
    for group in groups:
        name = model_title(group)
        lines += [[name, *(cell(group, row) for cell in columns.values())] for row in group.rows.values()]
    return markdown_table(["model", *columns], lines)


def model_title(group: Measured, separator: str = ", ") -> str:
    """Returns the model's name, with its number of layers if it is not the preset's own."""
    title, layers = TITLES[group.key.model], group.key.layers
    return title if layers is None else f"{title.removesuffix('-base')}{separator}{layers} layers"


def ratio(group: Measured, row: Row) -> Spread | None:
    """Returns a rival's seconds over flax_lite's; None for flax_lite, and if one of the two has no times."""
    reference = group.rows[FLAX_LITE]
    return None if row is reference else ratios(row.seconds, reference.seconds)


def _number(found: Spread | None, digits: int) -> str:
    if found is None:
        return ""
    if found.low == found.high:  # one round has no spread
        return f"{found.median:.{digits}f}"
    return f"{found.median:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _fact(row: Row, name: str, digits: int) -> str:
    return f"{row.facts[name]:.{digits}f}" if name in row.facts else ""


def _break_even(reference: Row, rival: Row) -> str:
    """Returns the number of steps until the rival's faster steps have made up for its longer compilation."""
    if rival is reference or not all((reference.facts, rival.facts, reference.seconds, rival.seconds)):
        return ""
    compiled, facts, others = _median(rival) - _median(reference), reference.facts, rival.facts
    lost = facts["step_seconds"] - others["step_seconds"]
    overlap = facts["step_least"] <= others["step_most"] and others["step_least"] <= facts["step_most"]
    alike = " (steps within their spread)" if overlap else ""
    if lost > 0:
        return f"{max(compiled, 0) / lost:.0f}{alike}"
    if compiled >= 0:
        return f"never{alike}"
    return (f"{compiled / lost:.0f} until ahead" if lost else "always") + alike


def _median(row: Row) -> float:
    found = spread(row.seconds)
    assert found is not None
    return found.median


def _share(group: Measured, row: Row) -> str:
    reference = group.rows[FLAX_LITE].facts.get("temporary_mib")
    return f"{row.facts['temporary_mib'] / reference:.1f}" if reference and "temporary_mib" in row.facts else ""


def _rate(group: Measured, row: Row) -> str:
    return f"{group.settings['tokens'] / _median(row):.0f}" if row.seconds else ""


def _settings(groups: Sequence[Measured]) -> str:
    """Formats the settings once, or for each group if they differ."""
    settings = {model_title(group): describe(group.settings) for group in groups}
    if len(set(settings.values())) == 1:
        return f"{settings.popitem()[1]}."
    return "\n".join(f"- {model}: {text}" for model, text in settings.items())


def _descriptions(groups: Iterable[Measured]) -> str:
    """Formats the distinct descriptions: timed work, settings, and what an implementation lacks."""
    lines: dict[str, None] = {}
    for group in groups:
        for row in group.rows.values():
            if row.description:
                lacks = "; ".join(row.description["lacks"]) or "nothing"
                timed, settings = row.description["timed"], row.description["settings"]
                lines[f"- {row.title}: {timed}. {settings}. Differs or lacks: {lacks}."] = None
    return "\n".join(lines)


def _circumstances(groups: Sequence[Measured]) -> str:
    """Formats the circumstances, once for all groups that share them."""
    lines: dict[str, list[str]] = {}
    for group in groups:
        moment = {name: group.environment[name] for name in MOMENT}
        shared = describe({name: value for name, value in group.environment.items() if name not in moment})
        worst = {row.title: max(row.differences.values()) for row in group.rows.values() if row.differences}
        text = ", ".join(f"{title} {value:.2g}" for title, value in worst.items()) or "nothing compared"
        lines.setdefault(shared, []).append(f"  - {group.key.kind}, {model_title(group)}: {describe(moment)}; {text}")
    heading = (
        "For each group: its start, the load before it, and the largest difference from flax_lite in tolerances (1 is "
        "just allowed)."
    )
    return "\n".join([heading, "", *(f"- {shared}:\n" + "\n".join(group) for shared, group in lines.items())])


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
        "steps until flax_lite is behind": lambda group, row: _break_even(group.rows[FLAX_LITE], row),
    },
    **dict.fromkeys(MEMORY_KINDS, _MEMORY),
}
