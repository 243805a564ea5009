"""What ``emulate`` returns: networks that predict with error bars, and their health."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion import bundles
from posterion.core.errors import SampleError, SettingError
from posterion.core.providers import provider
from posterion.core.registry import register
from posterion.core.status import Status
from posterion.diagnostics.health import Health
from posterion.emulators.density import Joint
from posterion.emulators.likelihoods import Likelihood
from posterion.emulators.predicting import Prediction, draws_of_networks, moments
from posterion.emulators.priors import WeightPrior
from posterion.emulators.tables import Columns, matching
from posterion.targets.parameter import Parameter

Floats = NDArray[np.float64]


@register("emulator")
@dataclass(frozen=True, eq=False, repr=False)
class Emulator:
    """Networks drawn from their posterior, in place of an expensive theory.

    ``print(emulator)`` is its health; `predict` gives means and error bars.

    Attributes:
        name: of what is emulated.
        network: one of the networks, from inputs to the likelihood's outputs.
        prior: of its weights.
        likelihood: of the targets.
        theta: vectors of the networks, (chains, draws, dim), float32.
        inputs: columns of the inputs and their scales.
        targets: columns of the targets.
        factors: of each target, the conformal factor at 1, 2 and 3 standard deviations, ``(3,
            targets)``; without rows where there were too few.
        health: the report; its status says whether to believe the rest.
        history: of the warm starts: chain, epoch, loss.
        settings, versions, citations, provenance: how it came about.
    """

    name: str
    network: Any
    prior: WeightPrior
    likelihood: Likelihood
    theta: np.ndarray
    inputs: Columns
    targets: Columns
    factors: np.ndarray
    history: dict[str, np.ndarray]
    settings: dict[str, Any]
    versions: dict[str, str]
    citations: tuple[str, ...]
    provenance: dict[str, Any]
    health: Health = field(default=Health(Status.not_checked))

    @cached_property
    def joint(self) -> Joint:
        """The density of weights, hyperparameters and noise."""
        targets = len(self.targets.names)
        return Joint.of(self.network, self.prior, self.likelihood, targets)[0]

    @property
    def kind(self) -> str:
        """``"emulator"``."""
        return "emulator"

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
    def networks(self) -> np.ndarray:
        """The vectors of all chains, ``(networks, dim)``."""
        return self.theta.reshape(-1, self.theta.shape[2])

    def predict(self, x: Any, *, networks: int | None = None) -> Prediction:
        """Means and error bars at points.

        Args:
            x: points: an array (rows, inputs), a dict, a DataFrame or a table's path, with the
                inputs by name; other columns are not looked at.
            networks: how many networks to ask, evenly out of all chains; all by default.

        Returns:
            A prediction of ``rows`` points. Rows outside of what was trained on are flagged.

        Raises:
            ThetaError: a column is missing.
            SampleError: points that are not finite, of another width, or no numbers.
            SettingError: ``networks`` is not among 1 ... their number.
        """
        points = matching(x, self.inputs.names)
        if not (fine := np.isfinite(points).all(axis=1)).all():
            row = int(np.argmin(fine))
            bad = self.inputs.names[int(np.argmin(np.isfinite(points[row])))]
            raise SampleError(
                f"{(~fine).sum()} points are not finite, the first in row {row}: {bad}"
            )
        theta = self.networks
        if networks is not None:
            if not 1 <= networks <= len(theta):
                raise SettingError(f"there are {len(theta)} networks, {networks} were asked for")
            theta = theta[np.linspace(0, len(theta) - 1, networks).round().astype(int)]
        scaled = self.inputs.scaled(points)
        plain, own = moments(self.joint, theta, scaled, self.targets)

        def draw(n: int, seed: int) -> np.ndarray:
            rng = np.random.default_rng([seed, 5])
            chosen = theta[rng.integers(len(theta), size=n)]
            return draws_of_networks(self.joint, chosen, scaled, seed)

        narrow = [a[:, 0] if a.shape[1] == 1 else a for a in own]
        mean, epistemic, aleatoric = narrow[0], np.sqrt(narrow[1]), np.sqrt(narrow[2])
        return Prediction(
            mean,
            np.sqrt(narrow[1] + narrow[2]),
            epistemic,
            aleatoric,
            self.inputs.outside(points),
            self.targets,
            {float(k): row for k, row in enumerate(self.factors, 1)},
            plain.mean,
            np.sqrt(plain.epistemic + plain.aleatoric),
            draw,
        )

    def reweight(self, prior: Any, *, seed: int = 0) -> "Emulator":
        """The emulator under another prior, see `posterion.emulators.reweight`."""
        return provider("reweight")(self, prior, seed=seed)

    def save(self, path: str | Path) -> None:
        """Write the emulator as one ``.posterion`` file.

        Raises:
            BundleError: the network or the likelihood is of a class that a file cannot name.
            OutputError: the file could not be written.
        """
        bundles.save_object(path, self, bundles.result_card(self))

    def __repr__(self) -> str:
        return str(self.health)

    def _repr_html_(self) -> str:
        return self.health._repr_html_()


def table_of(prediction: Prediction) -> Mapping[str, Floats]:
    """A prediction as columns: of each target mean, sd, epistemic, aleatoric, low and high end."""
    low, high = prediction.interval(1, corrected=1.0 in prediction.factors)
    names = prediction.columns.names
    out: dict[str, Floats] = {}
    parts = {
        "": prediction.mean,
        "_sd": prediction.sd,
        "_epistemic": prediction.epistemic,
        "_aleatoric": prediction.aleatoric,
        "_low": low,
        "_high": high,
    }
    for suffix, values in parts.items():
        wide = values[:, None] if values.ndim == 1 else values
        for i in range(wide.shape[1]):
            stem = names[i] if len(names) == wide.shape[1] else f"{names[0]}[{i}]"
            out[stem + suffix] = wide[:, i]
    return out | {"extrapolated": prediction.extrapolated.astype(np.float64)}
