"""The groups that have been measured, and their file."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.circumstances import MOMENT
from benchmarks.peers.measuring import Row
from benchmarks.peers.rivals import MEMORY_KINDS
from train.errors import UserError
from train.machine.files import write_json

# What tables read of a row beside its seconds.
_FACTS: Mapping[str, set[str]] = {
    "compile": {"step_seconds", "step_least", "step_most"},
    **{kind: {"temporary_mib"} for kind in MEMORY_KINDS},
}


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
        environment: versions, commit, device, and when it was, with the load of the machine before.
        rows: by rival.
    """

    key: Key
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: Mapping[str, Row]

    def is_of(self, settings: Mapping[str, Any], circumstances: Mapping[str, Any]) -> bool:
        """Whether its numbers may stand beside others of these."""
        own = {name: value for name, value in self.environment.items() if name not in MOMENT}
        return self.settings == settings and own == circumstances

    def answers(self, rivals: Sequence[str]) -> bool:
        """Whether nothing is left to measure for these rivals."""
        rows = [self.rows.get(name) for name in rivals]
        return all(row is not None and (row.seconds or row.final) for row in rows)


def read(file: Path) -> list[Measured]:
    """The groups of a file; none where there is no file.

    Raises:
        UserError: the file is not of this command's present form.
    """
    if not file.exists():
        return []
    try:
        return [_measured(record) for record in json.loads(file.read_text(encoding="utf-8"))["groups"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file} was not written by this command as it is now: give another --output") from None


def _measured(record: dict[str, Any]) -> Measured:
    rows, key = {name: Row(**row) for name, row in record["rows"].items()}, Key(*record["key"])
    for row in rows.values():
        if row.facts and (missing := _FACTS.get(key.kind, set()) - row.facts.keys()):
            raise KeyError(*missing)
    return Measured(**{**record, "key": key, "rows": rows})


def write(file: Path, groups: Sequence[Measured]) -> None:
    """Writes all of them, whole."""
    write_json(file, {"groups": [dataclasses.asdict(group) for group in groups]})
