"""Maps of one coordinate given its parameters: what couplings and autoregressive layers apply."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from posterion.core.registry import register

PI = float(np.pi)
TURN = 2 * PI


class Transformer(eqx.Module):
    """Monotone maps of ``n`` coordinates, each by parameters that come from a conditioner.

    Every array may have a batch along one more, last axis. Zero parameters mean the identity.
    """

    @abstractmethod
    def parameter_shape(self, n: int) -> tuple[int, ...]:
        """Shape of the parameters of ``n`` coordinates."""

    @abstractmethod
    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        """``x`` and the element-wise ``log dx/dz``, both of the shape of ``z``, ``(n,)``."""

    @abstractmethod
    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        """``z`` and the element-wise ``log dz/dx``, both of the shape of ``x``, ``(n,)``."""

    @property
    def uniform(self) -> bool:
        """Whether all coordinates are treated alike, so that a subset may be passed alone."""
        return True

    def circles(self, n: int) -> tuple[bool, ...]:
        """Which of ``n`` coordinates are angles on ``[-pi, pi)``."""
        return (False,) * n


@register("affine_transformer")
class AffineTransformer(Transformer):
    """``x = z exp(s) + t`` (Dinh et al. 1605.08803), ``s`` kept within ``limit`` by a tanh.

    With ``shift_first`` it is ``x = (z + t) exp(s)`` (Kingma and Dhariwal 1807.03039): the shift is
    in units of the local width, and what it lacks does no more harm where that is small.

    Args:
        limit: bound of ``|s|``; ``None`` leaves it free, as in the papers.
        shift_first: whether the shift comes before the scale.
    """

    limit: float | None = eqx.field(static=True, default=None)
    shift_first: bool = eqx.field(static=True, default=False)

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, 2)

    def scale(self, parameters: Array) -> Array:
        """The log-scale ``s`` of the raw ``parameters``."""
        raw = parameters[:, 0]
        return raw if self.limit is None else self.limit * jnp.tanh(raw / self.limit)

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        s = self.scale(parameters)
        t = parameters[:, 1]
        return (z + t) * jnp.exp(s) if self.shift_first else z * jnp.exp(s) + t, s

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        s = self.scale(parameters)
        t = parameters[:, 1]
        return x * jnp.exp(-s) - t if self.shift_first else (x - t) * jnp.exp(-s), -s


@register("swapped")
class Swapped(Transformer):
    """A map of lines with its two directions exchanged."""

    transformer: Transformer

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return self.transformer.parameter_shape(n)

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        return self.transformer.inverse(z, parameters)

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        return self.transformer.forward(x, parameters)


@register("in_turn")
class InTurn(Transformer):
    """Two maps of lines in turn, each with its own of the parameters ``(n, k, ...)``.

    Args:
        first: forward, what comes first.
        then: what follows.
    """

    first: Transformer
    then: Transformer

    def parameter_shape(self, n: int) -> tuple[int, ...]:
        return (n, self._split + self.then.parameter_shape(n)[1])

    def forward(self, z: Array, parameters: Array) -> tuple[Array, Array]:
        y, first = self.first.forward(z, parameters[:, : self._split])
        x, then = self.then.forward(y, parameters[:, self._split :])
        return x, first + then

    def inverse(self, x: Array, parameters: Array) -> tuple[Array, Array]:
        y, then = self.then.inverse(x, parameters[:, self._split :])
        z, first = self.first.inverse(y, parameters[:, : self._split])
        return z, then + first

    @property
    def _split(self) -> int:
        return self.first.parameter_shape(1)[1]


def wrap(angle: Array) -> Array:
    """``angle`` brought to ``[-pi, pi)``, with slope 1 everywhere."""
    angle = angle - lax.stop_gradient(TURN * jnp.floor((angle + PI) / TURN))
    # Rounding may leave the half-open interval, far angles have no digits left.
    upper = np.nextafter(np.asarray(PI, angle.dtype), np.asarray(0, angle.dtype))
    return angle + lax.stop_gradient(jnp.clip(angle, -PI, upper) - angle)
