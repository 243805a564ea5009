"""Predictions of many networks at many points, in chunks that stay in the cache."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.core.cores import chunks
from posterion.core.errors import SettingError
from posterion.core.memory import must_fit
from posterion.core.settings import check_number, check_whole
from posterion.emulators.density import Joint
from posterion.emulators.tables import Columns

Floats = NDArray[np.float64]

ROWS = 1024
"""Points of a chunk: the activations of one network there fit in the cache of a core."""


class Moments(NamedTuple):
    """Of the targets at each point, ``(rows, targets)`` each, in the network's units.

    Attributes:
        mean: over networks, of their means.
        epistemic: variance over networks of their means.
        aleatoric: mean over networks of their variances.
    """

    mean: Any
    epistemic: Any
    aleatoric: Any


@eqx.filter_jit
def _moments(joint: Joint, thetas: Array, x: Array, location: Array, scale: Array) -> Any:
    """Of the targets, and of their exponentials where these are taken."""

    def one(theta: Array) -> tuple[Array, Array]:
        noise = joint.parts(theta)[2]
        return joint.likelihood.mean_and_variance(joint.outputs(theta, x), noise)

    means, variances = lax.map(one, thetas)
    plain = _parted(means, variances)
    log_mean = location + scale * means
    log_variance = scale**2 * variances
    of_exp = jnp.exp(log_mean + 0.5 * log_variance)
    return plain, _parted(of_exp, of_exp**2 * jnp.expm1(log_variance))


def _parted(means: Array, variances: Array) -> Moments:
    """By the law of total variance."""
    return Moments(jnp.mean(means, 0), jnp.var(means, axis=0), jnp.mean(variances, 0))


@eqx.filter_jit
def _means(joint: Joint, thetas: Array, x: Array) -> Array:
    def one(theta: Array) -> Array:
        noise = joint.parts(theta)[2]
        return joint.likelihood.mean_and_variance(joint.outputs(theta, x), noise)[0]

    return lax.map(one, thetas)


@eqx.filter_jit
def _drawn(joint: Joint, thetas: Array, chosen: Array, x: Array, key: Array) -> Array:
    def one(inputs: tuple[Array, Array]) -> Array:
        theta, number = thetas[inputs[0]], inputs[1]
        noise = joint.parts(theta)[2]
        own = jax.random.fold_in(key, number)
        return joint.likelihood.sample(own, joint.outputs(theta, x), noise)

    return lax.map(one, (chosen, jnp.arange(len(chosen))))


def _by_chunks(
    function: Callable[[Array, int], Any],
    x: Floats,
    out: list[np.ndarray],
    axis: int,
    *,
    filled: bool = False,
) -> None:
    """Calls ``function(chunk, number)`` and puts its arrays where the rows stand in ``out``.

    All chunks have one size, that of the rows where they fit in one unless it is ``filled``.
    """
    size = ROWS if filled else min(ROWS, len(x))
    for number, start, stop in chunks(len(x), ROWS):
        whole = np.zeros((size, x.shape[1]), np.float32)
        whole[: stop - start] = x[start:stop]
        found = jax.tree.leaves(function(jnp.asarray(whole), number))
        for place, array in zip(out, found, strict=True):
            target = place[start:stop] if axis == 0 else place[:, start:stop]
            target[...] = (
                np.asarray(array)[: stop - start]
                if axis == 0
                else np.asarray(array)[:, : stop - start]
            )


def moments(
    joint: Joint, thetas: np.ndarray, x: Floats, columns: Columns
) -> tuple[Moments, Moments]:
    """Moments of the targets at points, and of what `Columns.unscaled` makes of them.

    Args:
        joint: the networks.
        thetas: their vectors, (networks, dim).
        x: points in the networks' units, (rows, inputs).
        columns: of the targets.

    Returns:
        In the networks' units, and in the targets' own: the epistemic and the aleatoric part are
        variances in both.
    """
    width = len(columns.names)
    given = jnp.asarray(thetas, jnp.float32)
    log = columns.log
    location = jnp.asarray(np.where(log, columns.location, 0.0), jnp.float32)
    scale = jnp.asarray(np.where(log, columns.scale, 0.0), jnp.float32)

    def of(chunk: Array, _: int) -> Any:
        return _moments(joint, given, chunk, location, scale)

    first = jax.eval_shape(lambda c: of(c, 0), jax.ShapeDtypeStruct((1, x.shape[1]), jnp.float32))
    outputs = first[0].mean.shape[1]
    out = [np.empty((len(x), outputs)) for _ in range(6)]
    _by_chunks(of, x, out, 0)
    plain, exp = Moments(*out[:3]), Moments(*out[3:])
    if outputs != width:  # probabilities of classes, which have no scale
        return plain, plain
    scaled = Moments(
        columns.location + columns.scale * plain.mean,
        columns.scale**2 * plain.epistemic,
        columns.scale**2 * plain.aleatoric,
    )
    own = [np.where(log, e, s) for e, s in zip(exp, scaled, strict=True)]
    return plain, Moments(*own)


def moments_of_rows(function: Callable[[Array], Moments], x: Floats) -> Moments:
    """Moments that ``function`` gives of a chunk of points ``(rows, inputs)``, at all points."""
    shape = jax.eval_shape(function, jax.ShapeDtypeStruct((1, x.shape[1]), jnp.float32))
    out = [np.empty((len(x), one.shape[1])) for one in shape]
    _by_chunks(lambda chunk, _: function(chunk), x, out, 0)
    return Moments(*out)


def means_of_networks(joint: Joint, thetas: np.ndarray, x: Floats) -> np.ndarray:
    """What each network expects at each point, ``(networks, rows, targets)``, in its units."""
    given = jnp.asarray(thetas, jnp.float32)
    shape = jax.eval_shape(
        lambda c: _means(joint, given, c), jax.ShapeDtypeStruct((1, x.shape[1]), jnp.float32)
    ).shape
    out = np.empty((len(thetas), len(x), shape[2]), np.float32)
    _by_chunks(lambda chunk, _: _means(joint, given, chunk), x, [out], 1)
    return out


def draws_of_networks(
    joint: Joint, thetas: np.ndarray, chosen: np.ndarray, x: Floats, seed: int, first: int = 0
) -> np.ndarray:
    """A target of each chosen network at each point, ``(chosen, rows, targets)``, in its units.

    Args:
        joint: the networks.
        thetas: their vectors, (networks, dim).
        chosen: numbers of networks.
        x: points in the networks' units.
        seed: of the noise.
        first: number of the chunk that ``x`` begins with: its noise is that of the whole.
    """
    given, which = jnp.asarray(thetas, jnp.float32), jnp.asarray(chosen, jnp.int32)
    key = jax.random.key(seed)

    def of(chunk: Array, number: int) -> Array:
        return _drawn(joint, given, which, chunk, jax.random.fold_in(key, first + number))

    one = jax.ShapeDtypeStruct((1, x.shape[1]), jnp.float32)
    shape = jax.eval_shape(lambda c: of(c, 0), one).shape
    out = np.empty((len(which), len(x), shape[2]), np.float32)
    _by_chunks(of, x, [out], 1, filled=first > 0)
    return out


Draw = Callable[[int, int, int, int], np.ndarray]
"""``draw(n, seed, start, stop)``: targets of those rows, ``(n, stop - start, targets)``.

The rows begin with a chunk; their numbers are in the networks' units.
"""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What an emulator says of points: arrays ``(rows,)``, or ``(rows, targets)`` of several.

    Attributes:
        mean: of the target.
        sd: its standard deviation: epistemic and aleatoric part added in squares.
        epistemic: the part that more training rows would lessen: the networks differ by it.
        aleatoric: the part that stays: the noise of the targets.
        extrapolated: which rows lie outside of what was trained on, in any input, ``(rows,)``.
        columns: of the targets.
        factors: number of standard deviations to the factor that its interval is corrected by.
    """

    mean: Floats
    sd: Floats
    epistemic: Floats
    aleatoric: Floats
    extrapolated: NDArray[np.bool_]
    columns: Columns
    factors: dict[float, np.ndarray] = field(repr=False)
    _centre: Floats
    _spread: Floats
    _draw: Draw
    _probability: Floats | None = None

    @property
    def median(self) -> Floats:
        """The middle of the intervals.

        With a logarithm it is its mean, taken back: where networks disagree by much, the largest of
        them alone make ``mean``, the mean of the exponentials.

        Raises:
            SettingError: the targets are labels or classes.
        """
        if self._probability is not None:
            raise SettingError("labels have no median; there is `probability`")
        return _narrow(self.columns.unscaled(self._centre))

    @property
    def probability(self) -> Floats:
        """Of label 1, or of each class: corrected by rows that were held out, if there were any.

        ``mean`` is what the networks themselves say.

        Raises:
            SettingError: the targets are numbers.
        """
        if self._probability is None:
            raise SettingError("numbers have no probability; there are `interval` and `quantile`")
        return self._probability

    def interval(self, sigmas: float | int = 1, *, corrected: bool = True) -> tuple[Floats, Floats]:
        """Lower and upper end of the interval of so many standard deviations.

        With a logarithm it is symmetric in that.

        Args:
            sigmas: its half width; its promise is that of a normal: 68.3, 95.4, 99.7 %.
            corrected: multiply by the conformal factor, so that it holds the promise on average
                over the points that rows were held out of. There is one for 1, 2 and 3.

        Raises:
            SettingError: no number of 0 or more, or no correction for it.
        """
        check_number(sigmas=sigmas)
        if sigmas < 0:
            raise SettingError(f"sigmas, the half width, must not be negative; got {sigmas}")
        factor: Any = float(sigmas)
        if corrected:
            if float(sigmas) not in self.factors:
                known = ", ".join(f"{k:g}" for k in self.factors) or "none"
                raise SettingError(
                    f"no correction for {sigmas} standard deviations; there is one for: {known}. "
                    f"corrected=False gives the raw interval"
                )
            factor = self.factors[float(sigmas)]
        half = factor * self._spread
        ends = (self.columns.unscaled(self._centre + sign * half) for sign in (-1, 1))
        low, high = (_narrow(end) for end in ends)
        return low, high

    def draws(self, n: int, *, seed: int = 0) -> np.ndarray:
        """Targets drawn from the predictive distribution, ``(n, rows)``, noise included.

        Of each draw one network is asked at all points.

        Raises:
            SettingError: ``n`` is no whole number of 1 or more, or memory does not hold them; it
                says how many it does.
        """
        _check_draws(n, seed)
        rows = len(self.extrapolated)
        must_fit(
            8 * rows * self._width, n, f"draws of {rows:,} points", "go through the points in parts"
        )
        out = np.empty((n, rows, self._width))
        for start, stop, drawn in self._parts(n, seed):
            out[:, start:stop] = drawn
        return _narrow(out)

    def quantile(self, q: Any, *, n: int = 1000, seed: int = 0) -> np.ndarray:
        """Quantiles of the predictive distribution, from ``n`` draws: ``(len(q), rows)``.

        The draws are made and forgotten chunk by chunk of the points.

        Raises:
            SettingError: as `draws`, for one chunk; or ``q`` is not within [0, 1].
        """
        q = _shares(q)
        _check_draws(n, seed)
        rows = min(ROWS, len(self.extrapolated))
        must_fit(40 * rows * self._width, n, f"draws of {rows:,} points", "take fewer points")
        parts = [np.quantile(drawn, q, axis=0) for _, _, drawn in self._parts(n, seed)]
        return _narrow(np.concatenate(parts, axis=-2))

    @property
    def _width(self) -> int:
        return len(self.columns.names)

    def _parts(self, n: int, seed: int) -> Iterator[tuple[int, int, np.ndarray]]:
        for _, start, stop in chunks(len(self.extrapolated), ROWS):
            drawn = self._draw(n, seed, start, stop).astype(np.float64)
            yield start, stop, self.columns.unscaled(drawn)

    def __repr__(self) -> str:
        rows, names = len(self.extrapolated), ", ".join(self.columns.names)
        return (
            f"prediction of {names} at {rows} points, {int(self.extrapolated.sum())} of them "
            f"outside of what was trained on"
        )


def _check_draws(n: Any, seed: Any) -> None:
    check_whole(n=n, least=1)
    check_whole(seed=seed, least=0)


def _shares(q: Any) -> Floats:
    """Of the distribution, each within [0, 1]."""
    try:
        shares = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        shares = np.asarray(np.nan)
    if q is None or not ((shares >= 0) & (shares <= 1)).all():
        raise SettingError(f"q, the quantiles, must be numbers from 0 to 1; got {q!r}")
    return shares


def _narrow(values: np.ndarray) -> np.ndarray:
    """Without the last axis where it has one entry."""
    return values[..., 0] if values.shape[-1] == 1 else values
