"""The groups that have been measured, and their file."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import results
from benchmarks.harness.circumstances import MOMENT
from benchmarks.harness.results import decode
from benchmarks.peers.rivals import MEMORY_KINDS

# The facts of a row that tables read.
_FACTS: Mapping[str, set[str]] = {
    "compile": {"step_seconds", "step_least", "step_most"},
    **{kind: {"temporary_mib"} for kind in MEMORY_KINDS},
}


@dataclasses.dataclass
class Row:
    """The numbers of one rival in one group.

    Attributes:
        title: of the rival.
        description: the timed work, the settings, and what the rival lacks.
        seconds: of each round.
        cold_seconds: of the first pass, in cases that report it.
        facts: other numbers.
        differences: from flax_lite, in tolerances.
        reason: why there are no seconds.
        final: whether it need not be tried again: it did not fail, it does not fit into memory.
    """

    title: str
    description: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: list[float] = dataclasses.field(default_factory=list)
    cold_seconds: float | None = None
    facts: dict[str, float] = dataclasses.field(default_factory=dict)
    differences: dict[str, float] = dataclasses.field(default_factory=dict)
    reason: str = ""
    final: bool = False

    def refuse(self, reason: str) -> None:
        """Drops all numbers and keeps the reason."""
        self.seconds, self.cold_seconds, self.facts = [], None, {}
        self.reason = reason


class Key(NamedTuple):
    """The kind of case, the model, and its number of layers (None for the preset's own)."""

    kind: str
    model: str
    layers: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A group with its numbers.

    Attributes:
        key: of the group.
        settings: the arguments that it depends on.
        environment: circumstances, start, and load of the machine before it.
        rows: by rival.
    """

    key: Key
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Mapping[str, Row]

    def is_of(self, settings: Mapping[str, Any], circumstances: Mapping[str, Any]) -> bool:
        """Returns whether its numbers are comparable with others of these settings and circumstances."""
        known = {name: value for name, value in self.environment.items() if name not in MOMENT}
        return self.settings == settings and known == circumstances

    def answers(self, rivals: Sequence[str]) -> bool:
        """Returns whether nothing is left to measure for these rivals."""
        rows = [self.rows.get(name) for name in rivals]
        return all(row is not None and (row.seconds or row.final) for row in rows)


def read(file: Path) -> list[Measured]:
    """Reads the groups of a file; none if there is no file.

    Raises:
        UserError: if the file has another form.
    """
    return results.read(file, lambda record: [_measured(one) for one in record["groups"]], [])


def _measured(record: Mapping[str, Any]) -> Measured:
    key = decode(Key, record["key"])
    rows = {name: decode(Row, row) for name, row in record["rows"].items()}
    for row in rows.values():
        if row.facts and (missing := _FACTS.get(key.kind, set()) - row.facts.keys()):
            raise KeyError(*missing)
    return Measured(**{**record, "key": key, "rows": rows})


def write(file: Path, groups: Sequence[Measured]) -> None:
    """Writes all groups."""
    results.write(file, {"groups": [dataclasses.asdict(group) for group in groups]})
