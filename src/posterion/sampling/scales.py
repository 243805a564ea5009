"""Where an unbounded density lives, when nobody has said: a pilot run over all magnitudes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from posterion.bijections.support import SupportMap
from posterion.core.errors import DensityError
from posterion.sampling.ensemble import scout_plain
from posterion.sampling.smc import scout
from posterion.targets.frame import Frame
from posterion.targets.target import Target, x_of

_PILOT = {"real": "sinh", "above": "exp_above", "below": "exp_below"}
_EXPONENT = 9.0  # one standard deviation of the pilot spans up to e^9, about 1e4; two 1e8
_GENEROUS = 8.0


@dataclass(frozen=True)
class Scales:
    """Centre and scale for each coordinate that had none; NaN for the others.

    Attributes:
        centre, scale: ``(dim,)``; the scale is eight times the width found, or more.
        calls: density calls of the pilot.
        searched: how far modes were searched for, in words.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    calls: int
    searched: str


def find_scales(target: Target, *, seed: int, particles: int = 500) -> Scales:
    """Scales of the coordinates with neither bounds on both sides, nor prior, nor scale.

    A sequential Monte Carlo run whose reference measure is spread over the magnitudes from 1e-8 to
    1e8 (either sign) finds the density; eight times its width makes the reference measure of
    the real run, which may find more modes within it.

    Raises:
        DensityError: the density is finite nowhere the pilot looked.
    """
    wanted = target.unscaled
    plain = target.support(np.zeros(target.dim), np.ones(target.dim))
    kinds = [_PILOT[k] if w else k for k, w in zip(plain.kinds, wanted, strict=True)]
    b = np.where(wanted, _EXPONENT, np.asarray(plain.b))
    with jax.enable_x64(True):
        support = SupportMap(kinds, plain.a, jnp.asarray(b))
    frame = Frame.plain(support)
    run = scout if target.has_gradient else scout_plain
    found = run(target, frame, particles=particles, seed=seed + 1)
    x = x_of(frame, found.u)
    if not np.isfinite(found.value).any():
        raise DensityError(f"the log-density of {target.name!r} is finite nowhere; give scales")
    low, centre, high = np.quantile(x, [0.16, 0.5, 0.84], axis=0)
    reach = np.quantile(np.abs(x - centre), 0.999, axis=0)
    scale = np.maximum(_GENEROUS * 0.5 * (high - low), 1.5 * reach)
    lower = np.asarray(plain.a)
    half = np.array([k in ("exp_above", "exp_below") for k in kinds])
    # Above (or below) a bound the reference is exponential from the bound on.
    scale = np.where(half, np.maximum(scale, 2 * np.abs(centre - lower)), scale)
    scale = np.maximum(scale, 1e-300)
    names = [column for column, w in zip(target.columns, wanted, strict=True) if w]
    return Scales(
        np.where(wanted, np.where(half, lower, centre), np.nan),
        np.where(wanted, scale, np.nan),
        found.calls,
        f"{', '.join(names)}: no scale was given; a pilot run over the magnitudes 1e-8 to 1e8 "
        f"found it",
    )
