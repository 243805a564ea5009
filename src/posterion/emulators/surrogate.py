"""What predicts in place of an expensive theory: its columns, its file, its page, its export."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion import bundles
from posterion.core.errors import SampleError, ShapeError
from posterion.core.memory import must_fit
from posterion.core.providers import provider
from posterion.core.status import Status
from posterion.diagnostics.health import Health
from posterion.diagnostics.probabilities import corrected_probabilities
from posterion.emulators.held import HeldOut
from posterion.emulators.predicting import Draw, Moments, Prediction
from posterion.emulators.tables import Columns, matching
from posterion.targets.parameter import Parameter

Floats = NDArray[np.float64]

_ARRAYS = 20  # of a number a point and target, while it is predicted


class Surrogate(ABC):
    """Means and error bars of targets at points: an emulator, or the one network in its place.

    Attributes:
        name: of what is emulated.
        head: what is predicted: ``"normal"`` of numbers, ``"bernoulli"``, ``"categorical"``.
        inputs: columns of the inputs and their scales.
        targets: columns of the targets.
        factors: of each target, the conformal factor at 1, 2 and 3 standard deviations, ``(3,
            targets)``; of labels slope and shift of the logit, ``(2, targets)``, of classes one
            slope, see `posterion.diagnostics.logistic_correction`; without rows where there were
            too few.
        history: of the training.
        health: the report; its status says whether to believe the rest.
        settings, versions, citations, provenance: how it came about.
        held: rows that nothing was trained on; None in files that keep none.
    """

    name: str
    head: str
    inputs: Columns
    targets: Columns
    factors: np.ndarray
    history: dict[str, np.ndarray]
    settings: dict[str, Any]
    versions: dict[str, str]
    citations: tuple[str, ...]
    provenance: dict[str, Any]
    health: Health
    held: HeldOut | None

    def __post_init__(self) -> None:
        check_factors(self)

    @property
    @abstractmethod
    def kind(self) -> str:
        """What stands on the card of its file."""

    @abstractmethod
    def predict(self, x: Any) -> Prediction:
        """Means and error bars at points."""

    @property
    def status(self) -> Status:
        """The verdict of the health report."""
        return self.health.status

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The targets, as a card tells of them."""
        pairs = zip(self.targets.names, self.targets.units, strict=True)
        return tuple(Parameter(name, unit=unit) for name, unit in pairs)

    @property
    def publication(self) -> dict[str, Any]:
        """What `publish` said of it; empty where it was not published."""
        return self.provenance.get("publication", {})

    def save(self, path: str | Path) -> None:
        """Write it as one ``.posterion`` file.

        Raises:
            BundleError: the network or the likelihood is of a class that a file cannot name.
            OutputError: the file could not be written.
        """
        bundles.save_object(path, self, bundles.result_card(self))

    def publish(self, path: str | Path, **said: Any) -> Any:
        """Save with analysis, data set, licence, citation and metrics on the card.

        See `posterion.bundles.publish`, also for what it raises.
        """
        return provider("publish")(self, path, **said)

    def export_onnx(self, folder: str | Path) -> dict[str, Any]:
        """Write ``predict.onnx`` and ``card.json``, which need no Posterion.

        See `posterion.emulators.export_emulator`, also for what it raises.
        """
        return provider("export_emulator")(self, folder)

    def report(self, path: str | Path, **options: Any) -> None:
        """Write one self-contained HTML page; options as `posterion.reports.emulator_page`."""
        provider("emulator_report")(self, path, **options)

    def _points(self, x: Any) -> Floats:
        """Points ``(rows, inputs)`` in the user's units."""
        points = matching(x, self.inputs.names)
        each = 8 * (2 * points.shape[1] + _ARRAYS * max(len(self.targets.names), 1))
        must_fit(each, len(points), "points", "go through them in parts, as `posterion predict`")
        fine = np.isfinite(points) & ~(self.inputs.log & (points <= 0))
        if not fine.all():
            row = int(np.argmin(fine.all(axis=1)))
            column = int(np.argmin(fine[row]))
            wanted = "finite" if not np.isfinite(points[row, column]) else "positive, for its log"
            raise SampleError(
                f"{(~fine).any(axis=1).sum()} points are not {wanted}, the first in row {row}: "
                f"{self.inputs.names[column]}"
            )
        return points

    def _prediction(
        self,
        points: Floats,
        plain: Moments,
        own: Moments,
        draw: Draw,
    ) -> Prediction:
        """Of moments in the network's units and in the targets' own."""
        narrow = [a[:, 0] if a.shape[1] == 1 else a for a in own]
        probability, factors = None, {float(k): row for k, row in enumerate(self.factors, 1)}
        if self.head != "normal":
            probability, factors = narrow[0], {}
            if len(self.factors):
                kept = self.factors if self.head == "bernoulli" else self.factors[:, 0]
                probability = _corrected(narrow[0], kept)
        return Prediction(
            narrow[0],
            np.sqrt(narrow[1] + narrow[2]),
            np.sqrt(narrow[1]),
            np.sqrt(narrow[2]),
            self.inputs.outside(points),
            self.targets,
            factors,
            plain.mean,
            np.sqrt(plain.epistemic + plain.aleatoric),
            draw,
            probability,
        )

    def __repr__(self) -> str:
        return str(self.health)

    def _repr_html_(self) -> str:
        return self.health._repr_html_()


def check_factors(surrogate: Surrogate) -> None:
    """Makes sure that the factors are of the shape that they have for such targets.

    Raises:
        ShapeError: they are not.
    """
    most = {"normal": 3, "bernoulli": 2, "categorical": 1}[surrogate.head]
    rows = range(most + 1) if surrogate.head == "normal" else (0, most)
    shape, columns = np.shape(surrogate.factors), len(surrogate.targets.names)
    if len(shape) != 2 or shape[0] not in rows or shape[1] != columns:
        raise ShapeError(
            f"{surrogate.name}: the factors of {surrogate.head} targets are ({most}, {columns}), "
            f"or have no rows where there are none; these are {shape}: correct it anew"
        )


def _corrected(p: Floats, factors: np.ndarray) -> Floats:
    """Probabilities of labels, each target by its own correction, or of classes by one."""
    if factors.ndim == 1 or factors.shape[1] == 1:
        return corrected_probabilities(p, factors)
    each = [corrected_probabilities(p[:, i], factors[:, i]) for i in range(p.shape[1])]
    return np.stack(each, axis=1)
