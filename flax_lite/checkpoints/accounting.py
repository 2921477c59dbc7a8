"""Strict accounting of one load: matches the tensors of a file with the parameters of a model.

Mismatches have the kinds that transformers reports (missing, unexpected and mismatched keys) and one more, duplicates.
As in big_vision's merge_params (google-research/big_vision, models/common.py), one error lists all of them, and only
patterns given by the caller exempt a tensor or a parameter.
"""

import collections
import dataclasses
import fnmatch
from collections.abc import Collection, Mapping

import jax
import numpy as np

from flax_lite.architecture.weights import WeightTable
from flax_lite.checkpoints.checkpoint import Convention
from flax_lite.checkpoints.expected import ExpectedTensor, Role, find_expected, is_buffer
from flax_lite.checkpoints.formats.listing import listing
from flax_lite.checkpoints.formats.tensors import FLOATS, StoredTensor, Tensors

Shapes = Mapping[str, jax.ShapeDtypeStruct]
# Path of a parameter, and the physical layer where it is stacked over layers.
ParameterKey = tuple[str, int | None]

_HEADINGS = {
    "missing": "missing from the file",
    "unexpected": "in the file, but unknown to the model",
    "duplicate": "in the file twice",
    "mismatched": "not as expected",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """Exemptions of one load from strict matching.

    Attributes:
        complete: whether nothing may be missing, because config.json names the very task that is loaded.
        foreign_heads: heads that belong to another task though they have the same name; their tensors are skipped.
        allow_missing: globs on parameter paths that may be missing or mis-shaped; they are initialized.
        ignore: globs on names in the file, with dots between the parts; these tensors are not read.
    """

    complete: bool = False
    foreign_heads: frozenset[str] = frozenset()
    allow_missing: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def ignores(self, name: str) -> bool:
        """Whether the caller excluded the tensor."""
        return _matches_any(name, self.ignore)

    def may_lack(self, expected: ExpectedTensor) -> bool:
        """Whether the caller allowed the tensor's parameter to be missing."""
        return _matches_any(expected.label, self.allow_missing)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A tensor of the file that matches an expected one."""

    name: str
    tensor: StoredTensor
    expected: ExpectedTensor

    def values(self) -> np.ndarray:
        """The values, with the axes in the order of the parameter's."""
        values = self.tensor.read()
        return values.T if self.expected.transposed else values

    def fill(self, destination: np.ndarray) -> str | None:
        """Writes the values into an array, cast to its dtype.

        Returns:
            A message if some of the written values are not finite, else None.
        """
        # Values beyond the range of the dtype become infinite, and are reported below with the others.
        with np.errstate(all="ignore"):
            destination[...] = self.values()
        num_bad = _count_not_finite(destination)
        if not num_bad:
            return None
        if _count_not_finite(self.values()):
            return f"{self.name}: {num_bad} of {destination.size} values are NaN or infinite"
        return f"{self.name}: {num_bad} of {destination.size} values are beyond the range of {destination.dtype.name}"


class Matching:
    """Matches the tensors of a file with the expected ones, and collects whatever does not match.

    Attributes:
        candidates: for each parameter, or each layer of a stacked one, the tensors that can fill it, by role.
        skipped: names of tensors whose parameter this model does not have.
        incomplete: paths of parameters that are missing, wholly or for some layers, and are allowed to be.
        remarks: messages for the log.
    """

    def __init__(self, expected: Mapping[str, ExpectedTensor], target: Shapes, rules: Rules) -> None:
        self.expected = dict(expected)
        self.target = target
        self.rules = rules
        self.candidates: dict[ParameterKey, dict[Role, Candidate]] = collections.defaultdict(dict)
        self.skipped: list[str] = []
        self.incomplete: set[str] = set()
        self.remarks: list[str] = []
        self._problems: dict[str, list[str]] = {kind: [] for kind in _HEADINGS}

    def match(self, tensors: Tensors, table: WeightTable, convention: Convention) -> None:
        """Matches the tensors of a file, named by its convention."""
        seen: dict[str, str] = {}
        for name, tensor in tensors.items():
            if self.rules.ignores(name) or is_buffer(name, table):
                continue
            expected = find_expected(name, self.expected, table, convention)
            if expected is None:
                self._problems["unexpected"].append(f"{name} {list(tensor.shape)}")
            elif expected.name in seen:
                self._problems["duplicate"].append(f"{seen[expected.name]} and {name}")
            else:
                seen[expected.name] = name
                self._add(Candidate(name, tensor, expected))

    def _add(self, candidate: Candidate) -> None:
        expected, tensor = candidate.expected, candidate.tensor
        if expected.role in ("unused", "foreign"):
            self.skipped.append(candidate.name)
        elif expected.role != "formula":
            shape = expected.stored_shape(self.target[expected.path].shape)
            fits = tensor.shape == shape and tensor.dtype in FLOATS
            if fits or not self.rules.may_lack(expected):
                self.candidates[expected.path, expected.index][expected.role] = candidate
            if not fits and not self.rules.may_lack(expected):
                self._problems["mismatched"].append(_mismatch(candidate, shape))

    def check(self) -> None:
        """Looks for missing parameters, and for repeated values that differ.

        Raises:
            ValueError: listing everything missing, unexpected, duplicate or not as expected.
        """
        self._find_missing()
        if not self._problems["mismatched"]:
            self._compare_repeated()
        if any(self._problems.values()):
            blocks = (listing(heading, self._problems[kind]) for kind, heading in _HEADINGS.items())
            raise ValueError("\n".join(block for block in blocks if block))

    def selected(self, key: ParameterKey) -> Candidate | None:
        """Returns the tensor to read, if there is one.

        Of a value and its copy (`decoder.bias`), PyTorch's forward pass uses the copy.
        """
        candidates = self.candidates.get(key, {})
        return candidates.get("copy") or candidates.get("value") or candidates.get("tied")

    def _find_missing(self) -> None:
        parts_found = {each.expected.part for by_role in self.candidates.values() for each in by_role.values()}
        for expected in self.expected.values():
            if not expected.is_parameter or self.selected((expected.path, expected.index)) is not None:
                continue
            # A head may be absent only as a whole, and so may the pooler, which Hugging Face's masked-LM models lack.
            absent_part = expected.part is not None and expected.part not in parts_found
            if self.rules.may_lack(expected) or (absent_part and not self.rules.complete):
                self.incomplete.add(expected.path)
            else:
                self._problems["missing"].append(f"{expected.label} ({expected.name})")

    def _compare_repeated(self) -> None:
        for by_role in self.candidates.values():
            value, copy, tied = by_role.get("value"), by_role.get("copy"), by_role.get("tied")
            if value and copy and not _equal(value, copy):
                self.remarks.append(f"{value.name} and {copy.name} differ; the latter is used, as PyTorch does")
            if value and tied and not _equal(value, tied):
                self._problems["mismatched"].append(
                    f"{tied.name} differs from {value.name}, but config.json ties the two; "
                    "set its tie_word_embeddings to false to load both"
                )


def _matches_any(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _equal(first: Candidate, second: Candidate) -> bool:
    """Whether the values are equal, NaN included."""
    one, two = first.values(), second.values()
    # A thousand rows at a time: the boolean arrays of a whole embedding table would take as much memory as the table.
    pairs = ((one[start : start + 1000], two[start : start + 1000]) for start in range(0, len(one), 1000))
    return all(bool(np.all((a == b) | ((a != a) & (b != b)))) for a, b in pairs)


def _count_not_finite(values: np.ndarray) -> int:
    """Counts in pieces: the boolean array of a whole float32 tensor would take a quarter of its memory."""
    pieces = values.ravel(order="K")
    return sum(int(np.sum(~np.isfinite(pieces[start : start + 2**20]))) for start in range(0, pieces.size, 2**20))


def _mismatch(candidate: Candidate, shape: tuple[int, ...]) -> str:
    """Describes a tensor of another shape or dtype than expected."""
    name, tensor, expected = candidate.name, candidate.tensor, candidate.expected
    if tensor.shape == shape:
        return f"{name} is {tensor.dtype}, expected one of {', '.join(FLOATS)}"
    line = f"{name} is {list(tensor.shape)}, expected {list(shape)}"
    if expected.path.endswith("embeddings/word/embedding"):
        return f"{line} ([vocab_size, embedding width] of config.json)"
    if expected.head == "classifier":
        labels = tensor.shape[0 if expected.transposed else -1] if tensor.shape else 0
        return f"{line}; pass num_labels={labels}, or allow_missing=('classifier/*',) for a new classifier"
    return line
