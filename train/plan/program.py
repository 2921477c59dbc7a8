"""Collectives and memory of a compiled program, parsed from its text: kinds, shapes and how often each runs."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(_KINDS)})(?:-start)?\((.*)$")
_CALL = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_BODY, _CONDITION = re.compile(r"body=%?([\w.\-]+)"), re.compile(r"condition=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONSTANT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective instruction.

    Attributes:
        kind: "all-reduce", "all-gather", "reduce-scatter", "all-to-all" or "collective-permute".
        shapes: dtypes and shapes of its results, as ("f32", (128, 512)).
        times: how often it runs in a step; in a loop, once for each iteration.
    """

    kind: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    times: int

    def num_bytes(self, at_least_elements: int = 0) -> int:
        """Returns the bytes of its results in a step, for arrays of at least that many elements."""
        sizes = ((kind, math.prod(shape)) for kind, shape in self.shapes)
        return self.times * sum(_itemsize(kind) * size for kind, size in sizes if size >= at_least_elements)


def collectives(text: str) -> list[Collective]:
    """Returns the collectives of a compiled program, from its text (`compiled.as_text()`)."""
    computations = dict(_computations(text.splitlines()))
    times = _times(computations)
    found: dict[tuple[Any, ...], Collective] = {}
    for name, lines in computations.items():
        for number, line in enumerate(lines):
            if match := _COLLECTIVE.search(line):
                shapes = _shapes(match[1], match[2])
                # TPU programs repeat an asynchronous collective in each computation that it overlaps with.
                channel = _CHANNEL.search(match[3])
                key = (match[2], shapes, channel[1]) if channel else (name, number)
                found.setdefault(key, Collective(match[2], shapes, times.get(name, 1)))
    return list(found.values())


def bytes_by_kind(found: Iterable[Collective], at_least_elements: int = 0) -> dict[str, int]:
    """Returns the result bytes of collectives in a step, by kind."""
    total: Counter[str] = Counter()
    for each in found:
        if moved := each.num_bytes(at_least_elements):
            total[each.kind] += moved
    return dict(total)


def memory(compiled: Any) -> dict[str, int]:
    """Returns the compiler's memory analysis, in bytes per device."""
    analysis = compiled.memory_analysis()
    return {
        "arguments": analysis.argument_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
        "program": analysis.generated_code_size_in_bytes,
    }


def _computations(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    name, body = "", []
    for line in lines:
        if match := _COMPUTATION.match(line):
            name, body = ("ENTRY" if match[1] else match[2]), []
        elif line.startswith("}") and name:
            yield name, body
            name = ""
        else:
            body.append(line)


def _times(computations: Mapping[str, list[str]]) -> dict[str, int]:
    """Returns how often each computation runs; for several callers, the most frequent one counts."""
    times: dict[str, int] = {}
    waiting = [("ENTRY", 1)]
    while waiting:
        name, count = waiting.pop()
        if name not in computations or times.get(name, 0) >= count:
            continue
        times[name] = count
        for line in computations[name]:
            called = _CALL.findall(line)
            for branches in _BRANCHES.findall(line):
                called += [branch.lstrip("%") for branch in branches.split(", ")]
            if called:
                trips = _trip_count(line, computations)
                waiting += [(each, count * trips) for each in called]
    return times


def _trip_count(line: str, computations: Mapping[str, list[str]]) -> int:
    """Returns the trip count of a loop, 1 for other instructions. TPU programs have it only in the loop's condition."""
    if not (_BODY.search(line) and (condition := _CONDITION.search(line))):
        return 1
    if known := _TRIPS.search(line):
        return int(known[1])
    bounds = [int(match[1]) for each in computations.get(condition[1], ()) if (match := _CONSTANT.search(each))]
    return bounds[0] if len(bounds) == 1 else 1


def _shapes(text: str, kind: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    arrays = [(dtype, tuple(map(int, filter(None, sizes.split(","))))) for dtype, sizes in _ARRAY.findall(text)]
    # An asynchronous start returns operands, results and then counters.
    started = kind in ("all-gather", "collective-permute") and text.startswith("((")
    return tuple(arrays[len(arrays) // 2 :] if started else arrays)


def _itemsize(dtype: str) -> int:
    bits = _BITS.search(dtype)
    return max(1, int(bits[0]) // 8) if bits else 1
