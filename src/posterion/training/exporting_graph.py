"""An ONNX graph written as formulas: values with operators, arrays stored once, no dead nodes.

Everything is feature-major, ``(rows, n)``, with the batch along the last axis.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from posterion.core.errors import MissingExtraError

__all__ = ["OPSET", "Graph", "Value", "onnx_modules"]

OPSET, _IR_VERSION = 18, 9  # of 2022: read by ONNX Runtime from 1.14 on


@contextmanager
def onnx_modules() -> Iterator[None]:
    """Turns the lack of onnx or onnxruntime within the block into an error that says what to do."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("onnx", "onnxruntime"):
            raise
        raise MissingExtraError(
            f"ONNX files need {error.name}: pip install 'posterion[onnx]'"
        ) from error


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph; arithmetic and comparisons with it add nodes.

    Args:
        graph: to which it belongs.
        name: in the file.
        dtype: of its numbers; constants that meet it are cast to that.
    """

    graph: "Graph"
    name: str
    dtype: np.dtype

    def _with(self, kind: str, other: Any, turned: bool = False) -> "Value":
        pair = (self, self.graph.constant(other, self.dtype))
        return self.graph.call(kind, *(reversed(pair) if turned else pair))

    def __add__(self, other: Any) -> "Value":
        return self._with("Add", other)

    def __radd__(self, other: Any) -> "Value":
        return self._with("Add", other, turned=True)

    def __sub__(self, other: Any) -> "Value":
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> "Value":
        return self._with("Sub", other, turned=True)

    def __mul__(self, other: Any) -> "Value":
        return self._with("Mul", other)

    def __rmul__(self, other: Any) -> "Value":
        return self._with("Mul", other, turned=True)

    def __truediv__(self, other: Any) -> "Value":
        return self._with("Div", other)

    def __rtruediv__(self, other: Any) -> "Value":
        return self._with("Div", other, turned=True)

    def __neg__(self) -> "Value":
        return self.graph.call("Neg", self)

    def __lt__(self, other: Any) -> "Value":
        return self._compare("Less", other)

    def __gt__(self, other: Any) -> "Value":
        return self._compare("Greater", other)

    def __ge__(self, other: Any) -> "Value":
        return self._compare("GreaterOrEqual", other)

    def _compare(self, kind: str, other: Any) -> "Value":
        found = self._with(kind, other)
        return Value(self.graph, found.name, np.dtype(bool))

    # NumPy must not take the operators of `array * value` for its own.
    __array_ufunc__ = None

    def __call__(self, kind: str, *others: Any, **attributes: Any) -> "Value":
        """The node ``kind`` of this value (and others): ``x("Exp")``."""
        return self.graph.call(kind, self, *others, **attributes)


class Graph:
    """Nodes, constants, inputs and outputs of one file to be."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[tuple, tuple[str, np.ndarray]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def input(self, name: str, dtype: Any, *shape: int | str) -> Value:
        """An input of the file."""
        self._inputs.append(_info(name, dtype, shape))
        return Value(self, name, np.dtype(dtype))

    def output(self, name: str, value: Value, *shape: int | str) -> None:
        """Makes ``value`` an output of the file."""
        self._node("Identity", (value.name,), (name,), {})
        self._outputs.append(_info(name, value.dtype, shape))

    def constant(self, array: Any, dtype: Any = np.float32) -> Value:
        """An array of the file; the same one is stored once. A value is given back as it is."""
        if isinstance(array, Value):
            return array
        stored = np.ascontiguousarray(np.asarray(array, dtype)).reshape(np.shape(array))
        key = (stored.dtype.str, stored.shape, stored.tobytes())
        if key not in self._constants:
            self._constants[key] = (f"c{len(self._constants)}", stored)
        return Value(self, self._constants[key][0], stored.dtype)

    def call(self, kind: str, *inputs: Any, dtype: Any = None, **attributes: Any) -> Value:
        """A node of one output; inputs that are no values become float32 constants."""
        values = [self.constant(value) for value in inputs]
        (name,) = self._named(1)
        self._node(kind, tuple(value.name for value in values), (name,), attributes)
        return Value(self, name, values[0].dtype if dtype is None else np.dtype(dtype))

    def split(self, value: Value, sizes: Sequence[int], *, axis: int = 0) -> list[Value]:
        """Parts of an axis, by default the first."""
        if len(sizes) == 1:
            return [value]
        names = self._named(len(sizes))
        inputs = (value.name, self.constant(np.array(sizes), np.int64).name)
        self._node("Split", inputs, names, {"axis": axis})
        return [Value(self, name, value.dtype) for name in names]

    def concat(self, values: Sequence[Value]) -> Value:
        """Along the first axis."""
        return values[0] if len(values) == 1 else self.call("Concat", *values, axis=0)

    def take(self, value: Value, index: np.ndarray, length: int) -> Value:
        """Rows of a value that has ``length`` of them."""
        if np.array_equal(index, np.arange(length)):
            return value
        return self.call("Gather", value, self.constant(index, np.int64), axis=0)

    def reshape(self, value: Value, *shape: int) -> Value:
        """With -1 for what is left over."""
        return self.call("Reshape", value, self.constant(np.array(shape), np.int64))

    def total(self, value: Value, length: int) -> Value:
        """Sum over the first of two axes, of that length, as a product: the axis stays."""
        return self.call("MatMul", np.ones((1, length)), value)

    def sum(self, value: Value, *, keep: bool = False) -> Value:
        """Over the first axis."""
        axes = self.constant(np.array([0]), np.int64)
        return self.call("ReduceSum", value, axes, keepdims=int(keep))

    def mean(self, value: Value, *, keep: bool = False) -> Value:
        """Over the first axis."""
        axes = self.constant(np.array([0]), np.int64)
        return self.call("ReduceMean", value, axes, keepdims=int(keep))

    def max(self, value: Value) -> Value:
        """Over the first axis, which stays with length 1."""
        return self.call("ReduceMax", value, self.constant(np.array([0]), np.int64), keepdims=1)

    def where(self, condition: Value, first: Any, second: Any) -> Value:
        """``first`` where the condition holds; at least one of them is a value."""
        dtype = first.dtype if isinstance(first, Value) else second.dtype
        chosen = [self.constant(x, dtype) for x in (first, second)]
        return self.call("Where", condition, *chosen, dtype=dtype)

    def cast(self, value: Value, dtype: Any) -> Value:
        """Of another type."""
        from onnx import helper

        if value.dtype == np.dtype(dtype):
            return value
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.call("Cast", value, dtype=dtype, to=to)

    def affine(self, weight: np.ndarray, values: Value | None, bias: Value) -> Value:
        """``weight @ values + bias`` in float32; the bias alone where no values are."""
        if values is None:
            return bias
        return self.call("Gemm", self.constant(weight), values, bias)

    def model(self, text: str, metadata: Mapping[str, str]) -> bytes:
        """The file, checked; nodes that no output needs are left out."""
        from onnx import checker, helper

        needed, kept = {info.name for info in self._outputs}, []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        constants = [
            helper.make_tensor(
                name,
                helper.np_dtype_to_tensor_dtype(array.dtype),
                array.shape,
                array.tobytes(),
                raw=True,
            )
            for name, array in self._constants.values()
            if name in needed
        ]
        graph = helper.make_graph(
            kept[::-1], "posterion", self._inputs, self._outputs, constants, text
        )
        model = helper.make_model(
            graph,
            producer_name="posterion",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        helper.set_model_props(model, dict(metadata))
        checker.check_model(model)
        return model.SerializeToString()

    def _named(self, number: int) -> tuple[str, ...]:
        self._count += number
        return tuple(f"v{i}" for i in range(self._count - number, self._count))

    def _node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any]
    ) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))


def _info(name: str, dtype: Any, shape: Sequence[int | str]) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))
