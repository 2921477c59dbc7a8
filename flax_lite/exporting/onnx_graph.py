"""A graph of ONNX operators as plain data, so that building one does not need the package onnx."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped


@dataclasses.dataclass(frozen=True)
class Node:
    """One application of an operator; its value has the node's name."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Graph:
    """Nodes in order of computation, and the constants that they read.

    Attributes:
        nodes: the nodes.
        constants: arrays by name; a weight that several nodes read is stored once.
        outputs: names of values by output name.
    """

    def __init__(self, weights: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
        """Creates an empty graph; `weights` are the arrays that nodes may read."""
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.outputs: dict[str, str] = {}
        self._weights = weights
        self._scopes: list[str] = []
        self._uses: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of nodes added inside with `name`."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; returns the name of its value."""
        base = "/".join([*self._scopes, operator])
        self._uses[base] += 1
        name = base if self._uses[base] == 1 else f"{base}_{self._uses[base]}"
        self.nodes.append(Node(name, operator, inputs, attributes))
        return name

    def weight(self, path: str) -> str:
        """Returns the name of a weight, and adds it to the constants."""
        self.constants[path] = self._weights[path]
        return path

    def number(self, value: float) -> str:
        """Returns the name of a float32 scalar constant."""
        return self._constant(f"constants/{value!r}", np.asarray(value, np.float32))

    def integers(self, *values: int) -> str:
        """Returns the name of an int64 vector constant."""
        return self._constant(f"constants/{list(values)}", np.asarray(values, np.int64))

    def integer(self, value: int) -> str:
        """Returns the name of an int64 scalar constant."""
        return self._constant(f"constants/int {value}", np.asarray(value, np.int64))

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name
