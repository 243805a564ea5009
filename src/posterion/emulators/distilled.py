"""One network in place of many: mean, epistemic and aleatoric part at once."""

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.core.registry import register
from posterion.core.status import Status
from posterion.diagnostics.health import Health
from posterion.emulators.held import HeldOut
from posterion.emulators.predicting import Moments, Prediction, moments_of_rows
from posterion.emulators.surrogate import Surrogate, check_factors
from posterion.emulators.tables import Columns
from posterion.networks import on_rows

Floats = NDArray[np.float64]

HEADS = {"normal": 3, "bernoulli": 2, "categorical": 2}
"""What the outputs are, and how many there are of each target or class.

``normal``: means, logarithms of the epistemic and of the aleatoric standard deviations. Of labels:
logits, and logits of the epistemic share of the variance, which is p (1 - p).
"""


def moments_of_outputs(head: str, outputs: Array) -> Moments:
    """Of targets, or of labels' indicators, in the network's units: ``(rows, targets)`` each."""
    parts = jnp.split(outputs, HEADS[head], axis=-1)
    if head == "normal":
        return Moments(parts[0], jnp.exp(2 * parts[1]), jnp.exp(2 * parts[2]))
    if head == "bernoulli":
        p, q = jax.nn.sigmoid(parts[0]), jax.nn.sigmoid(-parts[0])
    else:
        p = jax.nn.softmax(parts[0], axis=-1)
        q = 1 - p
    return Moments(p, p * q * jax.nn.sigmoid(parts[1]), p * q * jax.nn.sigmoid(-parts[1]))


def moments_of_exponentials(plain: Moments, columns: Columns) -> Moments:
    """In the targets' own units, where networks are normal about their mean at each point.

    With a logarithm of scale S the networks' means are lognormal: with m, E and A the mean, the
    epistemic and the aleatoric variance of the logarithm, ``exp(m + (E + A) / 2)`` is the mean and
    its square times ``expm1(E)`` and ``exp(E) expm1(A)`` the two variances.
    """
    location, scale = columns.location, columns.scale
    centre = location + scale * plain.mean
    epistemic, aleatoric = scale**2 * plain.epistemic, scale**2 * plain.aleatoric
    if not columns.log.any():
        return Moments(centre, epistemic, aleatoric)
    mean, first, second = (
        np.where(columns.log, value, 0.0)
        for value in (centre + 0.5 * (epistemic + aleatoric), epistemic, aleatoric)
    )
    with np.errstate(over="ignore"):  # then it is infinite, and the report says so
        mean = np.exp(mean)
        of_exp = (
            mean,
            mean**2 * np.expm1(first),
            mean**2 * np.exp(first) * np.expm1(second),
        )
    pairs = zip(of_exp, (centre, epistemic, aleatoric), strict=True)
    return Moments(*(np.where(columns.log, exp, own) for exp, own in pairs))


@register("distilled_emulator", check=check_factors)
@dataclass(frozen=True, eq=False, repr=False)
class Distilled(Surrogate):
    """One network that predicts as an emulator's many do, within differences that it states.

    ``print(distilled)`` is its health: how far it is from the emulator on points that neither saw,
    in the emulator's standard deviations, and whether its own error bars hold.

    Attributes:
        name: of what is emulated.
        network: from inputs to `posterion.emulators.distilled.HEADS`.
        offset: that is added to its outputs.
        head: what they are: ``"normal"``, ``"bernoulli"``, ``"categorical"``.
        inputs, targets, factors, history, held: as with `Emulator`.
        settings, versions, citations, provenance: how both came about.
        health: the report.
    """

    name: str
    network: Any
    offset: np.ndarray
    head: str
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

    @property
    def kind(self) -> str:
        """``"distilled emulator"``."""
        return "distilled emulator"

    def predict(self, x: Any) -> Prediction:
        """Means and error bars at points; arguments, errors and result as `Emulator.predict`.

        Its draws are normal in the networks' units, and independent from point to point.
        """
        points = self._points(x)
        offset = jnp.asarray(self.offset, jnp.float32)
        scaled = self.inputs.scaled(points)
        plain = moments_of_rows(lambda c: _moments(self.network, offset, self.head, c), scaled)
        labels = self.head != "normal"
        own = plain if labels else moments_of_exponentials(plain, self.targets)

        def draw(n: int, seed: int, start: int, stop: int) -> np.ndarray:
            rng = np.random.default_rng([seed, 5, start])
            mean = plain.mean[start:stop]
            if not labels:
                spread = np.sqrt(plain.epistemic + plain.aleatoric)[start:stop]
                return mean + spread * rng.normal(size=(n, *mean.shape))
            if self.head == "bernoulli":
                return (rng.random((n, *mean.shape)) < mean) * 1.0
            u = rng.random((n, len(mean), 1))
            return (u > np.cumsum(mean, axis=1)[:, :-1]).sum(axis=2, keepdims=True) * 1.0

        return self._prediction(points, plain, own, draw)


@eqx.filter_jit
def _moments(network: Any, offset: Array, head: str, x: Array) -> Moments:
    return moments_of_outputs(head, on_rows(network, x) + offset)
