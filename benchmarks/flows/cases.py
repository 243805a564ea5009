"""What is measured: the flows, in words that every library understands."""

from dataclasses import asdict, dataclass, replace
from typing import Any

INTERVAL = 4.0
"""Splines live on [-INTERVAL, INTERVAL] in every library."""


@dataclass(frozen=True)
class Case:
    """A flow on a standard normal base, with ReLU networks.

    Attributes:
        kind: "autoregressive" (density in one pass) or "coupling".
        dim: length of the event.
        layers: of that kind.
        hidden: widths of each layer's network.
        bins: of the rational-quadratic spline; 0 for an affine map.
        batch: rows of a minibatch, of a density call and of a sampling call.
    """

    kind: str
    dim: int
    layers: int
    hidden: tuple[int, ...]
    bins: int
    batch: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Case":
        """From what JSON makes of it."""
        return cls(**{**values, "hidden": tuple(values["hidden"])})

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def wide(self, width: int) -> "Case":
        """With hidden layers of another width."""
        return replace(self, hidden=(width,) * len(self.hidden))

    def small(self) -> "Case":
        """To see whether it runs at all."""
        hidden = (8,) * len(self.hidden)
        return replace(self, dim=min(self.dim, 6), layers=2, hidden=hidden, batch=64)

    def __str__(self) -> str:
        name = f"{self.kind}, {f'RQS of {self.bins} bins' if self.bins else 'affine'}"
        net = f"{len(self.hidden)}x{self.hidden[0]}"
        return f"{name}, D = {self.dim}, {self.layers} layers of {net}, batch {self.batch}"


CASES = {
    "a": Case("autoregressive", 95, 2, (64,) * 3, 0, 512),
    "b": Case("autoregressive", 40, 2, (128,) * 3, 8, 512),
    "c": Case("coupling", 6, 10, (64,) * 2, 0, 1024),
    "d": Case("coupling", 9, 8, (64,) * 2, 8, 2048),
}
"""The cases whose speed is measured."""


def accuracy_case(dim: int) -> Case:
    """The flow whose accuracy is measured on data of length ``dim``.

    Few dimensions take couplings. In many, the rows that there are set the size: a larger network
    learns them by heart.
    """
    if dim < 16:
        return Case("coupling", dim, 8, (64, 64), 8, 512)
    width, bins = (16, 16) if dim < 64 else (64, 8)
    return Case("autoregressive", dim, 2, (width, width), bins, 512)
