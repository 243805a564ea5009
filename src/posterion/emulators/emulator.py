"""What ``emulate`` returns: networks that predict with error bars, and their health."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SettingError
from posterion.core.providers import provider
from posterion.core.registry import register
from posterion.core.settings import check_whole
from posterion.core.status import Status
from posterion.diagnostics.health import Health
from posterion.emulators.density import Joint
from posterion.emulators.distilled import Distilled
from posterion.emulators.held import HeldOut
from posterion.emulators.likelihoods import Bernoulli, Categorical, Likelihood
from posterion.emulators.predicting import ROWS, Prediction, draws_of_networks, moments
from posterion.emulators.priors import WeightPrior
from posterion.emulators.surrogate import Surrogate, check_factors
from posterion.emulators.tables import Columns

Floats = NDArray[np.float64]


@register("emulator", check=check_factors)
@dataclass(frozen=True, eq=False, repr=False)
class Emulator(Surrogate):
    """Networks drawn from their posterior, in place of an expensive theory.

    ``print(emulator)`` is its health; `predict` gives means and error bars.

    Raises:
        ShapeError: factors of another shape.

    Attributes:
        name: of what is emulated.
        network: one of the networks, from inputs to the likelihood's outputs.
        prior: of its weights.
        likelihood: of the targets.
        theta: vectors of the networks, (chains, draws, dim), float32.
        inputs: columns of the inputs and their scales.
        targets: columns of the targets.
        factors: of each target, the conformal factor at 1, 2 and 3 standard deviations, ``(3,
            targets)``; of labels and classes see `Surrogate`; no rows where there were too few.
        health: the report; its status says whether to believe the rest.
        history: of the warm starts: chain, epoch, loss.
        settings, versions, citations, provenance: how it came about.
        held: at most a thousand rows each of the correction and of the test, with their targets;
            None in older files, and in ``dataclasses.replace(emulator, held=None)``.
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
    held: HeldOut | None = None

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
    def head(self) -> str:
        """What is predicted: ``"normal"`` of numbers, ``"bernoulli"``, ``"categorical"``."""
        if isinstance(self.likelihood, Categorical):
            return "categorical"
        return "bernoulli" if isinstance(self.likelihood, Bernoulli) else "normal"

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
        points = self._points(x)
        theta = self.networks
        if networks is not None:
            check_whole(networks=networks)
            if not 1 <= networks <= len(theta):
                raise SettingError(f"there are {len(theta)} networks, {networks} were asked for")
            theta = theta[np.linspace(0, len(theta) - 1, networks).round().astype(int)]
        scaled = self.inputs.scaled(points)
        plain, own = moments(self.joint, theta, scaled, self.targets)

        def draw(n: int, seed: int, start: int, stop: int) -> np.ndarray:
            chosen = np.random.default_rng([seed, 5]).integers(len(theta), size=n)
            given = self.joint, theta, chosen, scaled[start:stop], seed
            return draws_of_networks(*given, first=start // ROWS)

        return self._prediction(points, plain, own, draw)

    def reweight(self, prior: Any, *, seed: int = 0) -> "Emulator":
        """The emulator under another prior, see `posterion.emulators.reweight`."""
        return provider("reweight")(self, prior, seed=seed)

    def next_points(self, candidates: Any, count: int, *, seed: int = 0) -> NDArray[np.int64]:
        """Where to run the theory next, see `posterion.emulators.next_points`."""
        return provider("next_points")(self, candidates, count, seed=seed)

    def distil(self, points: Any = None, **options: Any) -> Distilled:
        """One network that predicts as this does, see `posterion.emulators.distil`."""
        return provider("distil")(self, points, **options)


def table_of(prediction: Prediction) -> Mapping[str, Floats]:
    """A prediction as columns: of each target mean, sd, epistemic, aleatoric, low and high end.

    Of labels and classes the corrected probability in place of the ends.
    """
    names = prediction.columns.names
    out: dict[str, Floats] = {}
    parts = {
        "": prediction.mean,
        "_sd": prediction.sd,
        "_epistemic": prediction.epistemic,
        "_aleatoric": prediction.aleatoric,
    }
    if prediction._probability is None:
        low, high = prediction.interval(1, corrected=1.0 in prediction.factors)
        parts |= {"_low": low, "_high": high}
    else:
        parts["_probability"] = prediction.probability
    for suffix, values in parts.items():
        wide = values[:, None] if values.ndim == 1 else values
        for i in range(wide.shape[1]):
            stem = names[i] if len(names) == wide.shape[1] else f"{names[0]}[{i}]"
            out[stem + suffix] = wide[:, i]
    return out | {"extrapolated": prediction.extrapolated.astype(np.float64)}
