"""Hamiltonian trajectories whose metric follows the curvature; for small networks.

Riemann-manifold HMC (Girolami and Calderhead, J. R. Stat. Soc. B 73 (2011) 123), integrated by the
implicit midpoint rule (Brofos and Lederman, 2102.07139).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.settings import check_whole
from posterion.emulators.density import Posterior
from posterion.emulators.kernels.base import Accepting, Info, Tuning, info_of, jittered

MOST_DIMENSIONS = 150
"""Of a density that `Rmhmc` moves in."""

_TOLERANCE = 1e-4  # of the midpoint, in units of the spread of positions and momenta
_LEAST_VARIANCE = 1e-30


def curvature(density: Posterior, theta: Array) -> Array:
    """A metric of the posterior, ``(dim, dim)``, positive definite and smooth everywhere.

    The Fisher information of a normal that has mean and variance of the likelihood in each row,
    which for the Gaussian likelihoods is their own; and the second derivatives of the log-prior by
    each coordinate, with the smooth absolute value ``sqrt(h^2 + 1)`` (a SoftAbs, Betancourt,
    1212.4693), so that a prior with wings or corners has one as well.
    """
    rows, joint = density.data.rows, density.joint

    def moments(theta: Array) -> tuple[Array, Array]:
        whole = density.whole(theta)
        noise = joint.parts(whole)[2]
        mean, variance = joint.likelihood.mean_and_variance(joint.outputs(whole, rows.x), noise)
        return jnp.ravel(mean), jnp.log(jnp.maximum(jnp.ravel(variance), _LEAST_VARIANCE))

    of_mean, of_spread = jax.jacfwd(moments)(theta)
    weight = jnp.exp(-moments(theta)[1])
    if rows.weight is not None:
        columns = weight.size // rows.weight.size
        taken = jnp.repeat((rows.weight > 0).astype(weight.dtype), columns)
        weight, of_spread = weight * taken, of_spread * taken[:, None]
    information = of_mean.T @ (weight[:, None] * of_mean) + 0.5 * of_spread.T @ of_spread
    of_prior = jnp.diagonal(jax.hessian(density.log_prior)(theta))
    return information + jnp.diag(jnp.sqrt(of_prior**2 + 1))


def _midpoint(iterations: int, scale: Array, update: Any, start: Any) -> tuple[Any, Any, Any]:
    """The fixed point of ``update``; not a number where it is not reached.

    Then the energy is none either, and the trajectory is refused.
    """

    def again(carry: Any, _: None) -> tuple[Any, None]:
        return update(carry[0]), None

    first = update(start)
    before, _ = lax.scan(again, first, None, length=iterations - 2)
    after, slope = update(before[0])
    moved = jnp.concatenate([a - b for a, b in zip(after, before[0], strict=True)])
    found = jnp.max(jnp.abs(moved / scale)) < _TOLERANCE
    return jax.tree.map(lambda a: jnp.where(found, a, jnp.nan), after), slope, None


@dataclass(frozen=True)
class Rmhmc(Accepting):
    """Trajectories a quarter turn long, jittered by 80 %, in the metric of `curvature`.

    A step costs ``iterations + 2`` gradients, and as many metrics with their derivatives, whose
    cost grows as the cube of the dimension: it is refused above 150. A step whose midpoint is not
    found to 1e-4 of the spread is a divergence.

    Args:
        acceptance: that the step size is tuned for.
        iterations: to find the midpoint of a step.

    Raises:
        SettingError: numbers out of range; at use, too many dimensions.
    """

    _cited: ClassVar[tuple[str, ...]] = ("girolami2011",)

    acceptance: float = 0.8
    iterations: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(iterations=self.iterations, least=2)

    def _first(self, dim: int) -> tuple[float, float]:
        return 0.3, math.pi / 2

    def start(self, density: Posterior) -> Tuning:
        """See `Kernel`."""
        if density.data.mesh is not None:
            raise SettingError(
                "rmhmc has its metric from all rows at once, which cannot be divided: leave "
                "`devices` out, or take nuts or hmc"
            )
        if density.dim > MOST_DIMENSIONS:
            raise SettingError(
                f"rmhmc would invert and differentiate {density.dim} x {density.dim} matrices in "
                f"every step: it takes at most {MOST_DIMENSIONS} dimensions; take nuts or hmc"
            )
        return Accepting.start(self, density)

    def renew(self, tuning: Tuning, mean: Array, variance: Array, count: Array) -> Tuning:
        """See `Kernel`: the metric has its scale by itself, so the step stays."""
        renewed = Accepting.renew(self, tuning, mean, variance, count)
        return tuning._replace(metric=renewed.metric)

    def move(
        self, density: Posterior, key: PRNGKeyArray, state: Any, tuning: Tuning
    ) -> tuple[Any, Info]:
        """See `Kernel`."""
        from blackjax.mcmc.integrators import implicit_midpoint
        from blackjax.mcmc.rmhmc import build_kernel

        root = jnp.sqrt(tuning.metric)
        solver = partial(_midpoint, self.iterations, jnp.concatenate([root, 1 / root]))
        kernel: Any = build_kernel(partial(implicit_midpoint, solver=solver))
        of_move, of_length = jax.random.split(key)
        steps = jittered(of_length, tuning)
        metric = partial(curvature, density)
        state, info = kernel(of_move, state, density, tuning.step, metric, steps)
        return state, info_of(info, (self.iterations + 2) * steps)
