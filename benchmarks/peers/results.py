"""The groups that have been measured, and their file."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.measuring import Row
from train.whole_writes import write_json


class Key(NamedTuple):
    """What tells groups apart; `layers` is None where the model's own depth is meant."""

    kind: str
    model: str
    layers: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A group with its numbers.

    Attributes:
        key: which.
        settings: what the command line said of it; another is another measurement.
        environment: versions, commit, load of the machine before it.
        rows: by rival.
    """

    key: Key
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Mapping[str, Row]

    def answers(self, settings: Mapping[str, Any], rivals: Sequence[str]) -> bool:
        """Whether nothing is left to measure for these rivals."""
        rows = [self.rows.get(name) for name in rivals]
        return self.settings == settings and all(row is not None and (row.seconds or row.final) for row in rows)


def read(file: Path) -> list[Measured]:
    """The groups of a file; none where there is no file."""
    if not file.exists():
        return []
    return [_measured(record) for record in json.loads(file.read_text(encoding="utf-8"))["groups"]]


def _measured(record: dict[str, Any]) -> Measured:
    rows = {name: Row(**row) for name, row in record["rows"].items()}
    return Measured(**{**record, "key": Key(*record["key"]), "rows": rows})


def write(file: Path, groups: Sequence[Measured]) -> None:
    """Writes all of them, whole."""
    write_json(file, {"groups": [dataclasses.asdict(group) for group in groups]})
