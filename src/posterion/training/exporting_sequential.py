"""The sequential direction of an autoregressive layer as ONNX nodes, written out step by step.

ONNX Runtime has no update in place: a loop would copy all units known so far at each step. So the
steps stand one after the other in the file, and coordinates go in blocks: what the earlier blocks
add to a block's sums is one matrix product, and a step sees only the few units of its own block.
Each unit is computed once, as in :mod:`posterion.networks.made`.
"""

from typing import Any

import numpy as np

from posterion.bijections.autoregressive import Autoregressive
from posterion.bijections.elementwise import Transformer
from posterion.bijections.splines import MixedTransformer
from posterion.networks.made import unit_degrees
from posterion.training.exporting_graph import Graph, Value
from posterion.training.exporting_maps import activate, fields, move

__all__ = ["parts_of", "sequential", "with_context"]

BLOCK = 12
"""Coordinates of a block."""


def parts_of(transformer: Transformer, circle: np.ndarray) -> list[tuple[Transformer, np.ndarray]]:
    """The maps of an autoregressive layer, each with its coordinates."""
    if not isinstance(transformer, MixedTransformer):
        return [(transformer, np.arange(len(circle)))]
    parts = ((transformer.real, ~circle), (transformer.circular, circle))
    return [(part, np.flatnonzero(own)) for part, own in parts if own.any()]


def with_context(graph: Graph, weight: Any, context: Value | None, bias: np.ndarray) -> Value:
    """The bias ``(units, 1)`` of a first layer with what the context adds."""
    constant = graph.constant(bias)
    return constant if context is None else graph.affine(np.asarray(weight), context, constant)


def sequential(
    graph: Graph, layer: Autoregressive, z: Value, context: Value | None
) -> tuple[Value, Value]:
    """``x`` and the log-determinant at ``z``."""
    return _Steps(graph, layer, z, context).run()


class _Steps:
    """Builds the steps; holds what is known of the coordinates and units so far.

    The kinds of rows are numbered: 0 the inputs, 1, ... the hidden layers. ``before[k]`` are all
    rows of earlier blocks, in the columns' order, and ``here[k]`` those of this block.
    """

    def __init__(self, graph: Graph, layer: Autoregressive, z: Value, context: Value | None):
        net, order = layer.conditioner, np.asarray(layer.order)
        self.graph, self.net, self.dim = graph, net, len(order)
        self.order = order
        self.circle = np.array(layer.transformer.circles(self.dim))[order]
        natural = np.array(layer.transformer.circles(self.dim))
        self.part = {
            int(i): part for part, own in parts_of(layer.transformer, natural) for i in own
        }
        self.weights = [np.asarray(weight) for weight in net.masked()]
        self.biases = [np.asarray(bias)[:, None] for bias in net.biases]
        lowest = 1 if net.from_context is None else 0
        hidden = [unit_degrees(len(b), self.dim, lowest) for b in self.biases[:-1]]
        self.degrees = [np.empty(0, int), *hidden]
        self.context = with_context(graph, net.from_context, context, self.biases[0])
        self.given = context is not None
        self.z = graph.split(graph.take(z, order, self.dim), [1] * self.dim)
        self.nothing = 0.0 * self.z[0]  # gives constants the length of the batch
        kinds = len(self.degrees)
        self.before: list[Value | None] = [None] * kinds
        self.before_index = [np.empty(0, int)] * kinds
        self.here: list[list[Value]] = [[] for _ in range(kinds)]
        self.here_index: list[list[int]] = [[] for _ in range(kinds)]

    def run(self) -> tuple[Value, Value]:
        graph, x, log_slopes = self.graph, [], []
        for start in range(0, self.dim, BLOCK):
            numbers = range(start, min(start + BLOCK, self.dim))
            sums, parameters = self._begin(numbers)
            for number in numbers:
                value, log_slope = self._step(number, sums, parameters[number - start])
                x.append(value)
                log_slopes.append(log_slope)
            self._end()
        ordered = graph.take(graph.concat(x), np.argsort(self.order), self.dim)
        return ordered, graph.sum(graph.concat(log_slopes))

    def _rows(self, kind: int, number: int) -> np.ndarray:
        return np.flatnonzero(self.degrees[kind] == number)

    def _begin(self, numbers: range) -> tuple[list[dict[int, Value]], list[Value]]:
        """What earlier blocks add to the sums of this block's units and parameters."""
        sums: list[dict[int, Value]] = [{}]
        for kind in range(1, len(self.degrees)):
            rows = {n: own for n in numbers if (own := self._rows(kind, n)).size}
            if not rows:
                sums.append({})
                continue
            index = np.concatenate(list(rows.values()))
            bias = self.graph.constant(self.biases[kind - 1][index])
            if kind == 1 and self.given:
                bias = self.graph.take(self.context, index, len(self.biases[0]))
            whole = self._earlier(kind - 1, index, bias)
            parts = self.graph.split(whole, [len(own) for own in rows.values()])
            sums.append(dict(zip(rows, parts, strict=True)))
        width = self.net.width
        index = np.arange(numbers.start * width, numbers.stop * width)
        bias = self.graph.constant(self.biases[-1][index])
        whole = self._earlier(len(self.degrees) - 1, index, bias)
        return sums, self.graph.split(whole, [width] * len(numbers))

    def _earlier(self, kind: int, rows: np.ndarray, bias: Value) -> Value:
        before = self.before[kind]
        if before is None:
            return bias + self.nothing
        weight = self.weights[kind][np.ix_(rows, self.before_index[kind])]
        return self.graph.affine(weight, before, bias)

    def _step(
        self, number: int, sums: list[dict[int, Value]], parameters: Value
    ) -> tuple[Value, Value]:
        graph, net, width = self.graph, self.net, self.net.width
        below: Value | None = None
        for kind in range(1, len(self.degrees)):
            if number not in sums[kind]:
                continue
            rows = self._rows(kind, number)
            active = activate(net.activation, self._own(kind - 1, rows, sums[kind][number]))
            if net.residual and below is not None:
                active = active + below
            below = active
            self._note(kind, active, rows)
        rows = np.arange(number * width, (number + 1) * width)
        parameters = self._own(len(self.degrees) - 1, rows, parameters)
        part = self.part[int(self.order[number])]
        sizes = fields(part)
        rest = width - sum(sizes)
        split = graph.split(parameters, [*sizes, rest] if rest else sizes)
        x, log_slope = move(graph, part, "forward", self.z[number], split[: len(sizes)], 1)
        if self.circle[number]:
            self._note(0, x("Cos"), np.array([number]))
            self._note(0, x("Sin"), np.array([number + self.dim]))
        else:
            self._note(0, x, np.array([number]))
        return x, log_slope

    def _own(self, kind: int, rows: np.ndarray, sums: Value) -> Value:
        """The sums of some rows, with what this block adds."""
        if not self.here[kind]:
            return sums
        weight = self.weights[kind][np.ix_(rows, np.array(self.here_index[kind]))]
        return self.graph.affine(weight, self.graph.concat(self.here[kind]), sums)

    def _note(self, kind: int, values: Value, rows: np.ndarray) -> None:
        self.here[kind].append(values)
        self.here_index[kind] += [int(row) for row in rows]

    def _end(self) -> None:
        for kind, here in enumerate(self.here):
            if here:
                before = self.before[kind]
                self.before[kind] = self.graph.concat(
                    [*([] if before is None else [before]), *here]
                )
                self.before_index[kind] = np.append(self.before_index[kind], self.here_index[kind])
        self.here = [[] for _ in self.here]
        self.here_index = [[] for _ in self.here]
