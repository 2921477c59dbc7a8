"""The account of one load: every tensor of the file against every parameter of the model."""

import collections
import dataclasses
import fnmatch
from collections.abc import Collection, Mapping

import jax
import numpy as np

from flax_lite.architecture.weights import WeightTable
from flax_lite.checkpoints.checkpoint import Dialect
from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors
from flax_lite.checkpoints.slots import Slot, Use, find_slot, is_buffer

Shapes = Mapping[str, jax.ShapeDtypeStruct]
Place = tuple[str, int | None]

_HEADINGS = {
    "missing": "missing from the file",
    "unmapped": "in the file, but unknown to the model",
    "doubled": "in the file twice",
    "different": "not as expected",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What one load accepts.

    Attributes:
        complete: nothing may be missing, because the checkpoint says that it holds this very task.
        foreign_heads: heads that belong to another task under the same name; their tensors are skipped.
        allow_missing: globs on parameter paths that may be missing or mis-shaped; they are initialized.
        ignore: globs on names in the file, dots between the parts; these tensors are left out.
    """

    complete: bool = False
    foreign_heads: frozenset[str] = frozenset()
    allow_missing: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def ignores(self, name: str) -> bool:
        """Whether the caller left the tensor out."""
        return _matching(name, self.ignore)

    def may_lack(self, slot: Slot) -> bool:
        """Whether the caller allowed the slot's parameter to be missing."""
        return _matching(slot.label, self.allow_missing)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A tensor of the file that was matched with a slot."""

    name: str
    tensor: StoredTensor
    slot: Slot

    def values(self) -> np.ndarray:
        """The values, oriented as the parameter."""
        values = self.tensor.read()
        return values.T if self.slot.transposed else values

    def fill(self, place: np.ndarray) -> str | None:
        """Writes the values into their place; returns what is wrong with them, if anything is."""
        # What does not fit becomes infinite, and is reported with the rest.
        with np.errstate(all="ignore"):
            place[...] = self.values()
        broken = _count_not_finite(place)
        if not broken:
            return None
        if _count_not_finite(self.values()):
            return f"{self.name}: {broken} of {place.size} values are NaN or infinite"
        return f"{self.name}: {broken} of {place.size} values are beyond the range of {place.dtype.name}"


class Account:
    """Matches tensors with slots, and collects whatever does not come out even.

    Attributes:
        found: candidates for each parameter, or for each row of a stacked one, by use.
        skipped: names of tensors that belong to what this model does not have.
        incomplete: paths of parameters that are missing, wholly or in part, and may be.
        remarks: what the reader of a log should know.
    """

    def __init__(self, slots: Mapping[str, Slot], target: Shapes, rules: Rules) -> None:
        self.slots = dict(slots)
        self.target = target
        self.rules = rules
        self.found: dict[Place, dict[Use, Candidate]] = collections.defaultdict(dict)
        self.skipped: list[str] = []
        self.incomplete: set[str] = set()
        self.remarks: list[str] = []
        self._problems: dict[str, list[str]] = {kind: [] for kind in _HEADINGS}

    def add_all(self, tensors: Tensors, table: WeightTable, dialect: Dialect) -> None:
        """Enters the tensors of a file, in its dialect."""
        seen: dict[str, str] = {}
        for name, tensor in tensors.items():
            if self.rules.ignores(name) or is_buffer(name, table):
                continue
            slot = find_slot(name, self.slots, table, dialect)
            if slot is None:
                self._problems["unmapped"].append(f"{name} {list(tensor.shape)}")
            elif slot.name in seen:
                self._problems["doubled"].append(f"{seen[slot.name]} and {name}")
            else:
                seen[slot.name] = name
                self._enter(Candidate(name, tensor, slot))

    def _enter(self, candidate: Candidate) -> None:
        slot, tensor = candidate.slot, candidate.tensor
        if slot.use in ("unused", "foreign"):
            self.skipped.append(candidate.name)
        elif slot.use != "formula":
            expected = slot.stored_shape(self.target[slot.path].shape)
            fits = tensor.shape == expected and tensor.dtype in FLOATS
            if fits or not self.rules.may_lack(slot):
                self.found[slot.path, slot.index][slot.use] = candidate
            if not fits and not self.rules.may_lack(slot):
                self._problems["different"].append(_difference(candidate, expected))

    def close(self) -> None:
        """Looks for what is missing, and for repeats that differ.

        Raises:
            ValueError: listing everything missing, unmapped, doubled or not as expected.
        """
        self._find_missing()
        if not self._problems["different"]:
            self._compare_repeats()
        if any(self._problems.values()):
            blocks = (listing(heading, self._problems[kind]) for kind, heading in _HEADINGS.items())
            raise ValueError("\n".join(block for block in blocks if block))

    def chosen(self, place: Place) -> Candidate | None:
        """The candidate to read: PyTorch's forward pass uses the copy (`decoder.bias`) where both are present."""
        candidates = self.found.get(place, {})
        return candidates.get("copy") or candidates.get("value") or candidates.get("tied")

    def _find_missing(self) -> None:
        parts_found = {candidate.slot.part for uses in self.found.values() for candidate in uses.values()}
        for slot in self.slots.values():
            if not slot.is_parameter or self.chosen((slot.path, slot.index)) is not None:
                continue
            # A head is whole or absent, and so is a pooler: Hugging Face's masked-LM models do not have one.
            absent_part = slot.part is not None and slot.part not in parts_found
            if self.rules.may_lack(slot) or (absent_part and not self.rules.complete):
                self.incomplete.add(slot.path)
            else:
                self._problems["missing"].append(f"{slot.label} ({slot.name})")

    def _compare_repeats(self) -> None:
        for uses in self.found.values():
            value, copy, tied = uses.get("value"), uses.get("copy"), uses.get("tied")
            if value and copy and not _equal(value, copy):
                self.remarks.append(f"{value.name} and {copy.name} differ; the latter is used, as PyTorch does")
            if value and tied and not _equal(value, tied):
                self._problems["different"].append(
                    f"{tied.name} differs from {value.name}, but config.json ties the two; "
                    "set its tie_word_embeddings to false to load both"
                )


def _matching(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _equal(first: Candidate, second: Candidate) -> bool:
    one, two = first.values(), second.values()
    # A thousand rows at a time: the masks of whole tables would be a copy of one.
    pairs = ((one[start : start + 1000], two[start : start + 1000]) for start in range(0, len(one), 1000))
    return all(bool(np.all((a == b) | ((a != a) & (b != b)))) for a, b in pairs)


def _count_not_finite(values: np.ndarray) -> int:
    """Counted piece by piece: the mask of a whole tensor would be a quarter of a copy."""
    pieces = values.ravel(order="K")
    return sum(int(np.sum(~np.isfinite(pieces[start : start + 2**20]))) for start in range(0, pieces.size, 2**20))


def _difference(candidate: Candidate, expected: tuple[int, ...]) -> str:
    name, tensor, slot = candidate.name, candidate.tensor, candidate.slot
    if tensor.shape == expected:
        return f"{name} is {tensor.dtype}, expected one of {', '.join(FLOATS)}"
    line = f"{name} is {list(tensor.shape)}, expected {list(expected)}"
    if slot.path.endswith("embeddings/word/embedding"):
        return f"{line} ([vocab_size, embedding width] of config.json)"
    if slot.head == "classifier":
        labels = tensor.shape[0 if slot.transposed else -1] if tensor.shape else 0
        return f"{line}; pass num_labels={labels}, or allow_missing=('classifier/*',) for a new classifier"
    return line
