"""A graph of ONNX operators under construction, as plain data: nothing here needs the package onnx."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped


@dataclasses.dataclass(frozen=True)
class Node:
    """One application of an operator; it gives one value, which has the node's name."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class Graph:
    """Nodes in the order of their computation, and the constants they read.

    Attributes:
        nodes: what has been added.
        constants: arrays by name; a weight that several nodes read is here once.
        outputs: names of the values the graph gives, by the names it gives them under.
    """

    def __init__(self, weights: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
        """An empty graph over some weights, of which it keeps those that its nodes read."""
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.outputs: dict[str, str] = {}
        self._weights = weights
        self._scopes: list[str] = []
        self._uses: collections.Counter[str] = collections.Counter()

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Nodes added inside are named as parts of `name`."""
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
        """The name of a weight's value."""
        self.constants[path] = self._weights[path]
        return path

    def number(self, value: float) -> str:
        """The name of a float32 scalar's value."""
        return self._constant(f"constants/{value!r}", np.asarray(value, np.float32))

    def integers(self, *values: int) -> str:
        """The name of an int64 vector's value."""
        return self._constant(f"constants/{list(values)}", np.asarray(values, np.int64))

    def integer(self, value: int) -> str:
        """The name of an int64 scalar's value."""
        return self._constant(f"constants/int {value}", np.asarray(value, np.int64))

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name
