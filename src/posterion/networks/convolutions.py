"""A convolutional network of one or two dimensions."""

import math
from itertools import pairwise

import equinox as eqx
import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.networks.perceptron import KINKED, MLP, activation_of, check_residual, initial_layer

_LAYOUT = {1: ("NCH", "OIH", "NCH"), 2: ("NCHW", "OIHW", "NCHW")}


@register("convolutional")
class Convolutional(eqx.Module):
    """Convolutions that keep the size, each but the first halving it by means, then an MLP.

    Args:
        shape: ``(channels, length)`` or ``(channels, height, width)`` of the input, which comes
            flat.
        out_size: width of the output.
        channels: of each convolution.
        kernel: width of the kernels, odd.
        hidden: widths of the dense layers after them.
        activation: name of the activation.
        residual: convolutions after the first add to their input.
        key: random key of the initial weights.

    Raises:
        SettingError: a shape that is none of the two, an even kernel, channels below 1, residual
            convolutions of different widths, or more halvings than the input has.
    """

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    head: MLP
    shape: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, ...],
        out_size: int,
        channels: tuple[int, ...] = (16, 32),
        kernel: int = 3,
        hidden: tuple[int, ...] = (64,),
        activation: str = "relu",
        *,
        residual: bool = False,
        key: PRNGKeyArray,
    ):
        if len(shape) - 1 not in _LAYOUT or min(shape) < 1:
            raise SettingError(
                f"a convolutional network takes (channels, length) or (channels, height, width), "
                f"got {shape}"
            )
        if kernel < 1 or kernel % 2 == 0:
            raise SettingError(f"the kernel's width must be odd, got {kernel}")
        if not channels or min(channels) < 1:
            raise SettingError(f"channels must be positive, got {channels}")
        if min(shape[1:]) < 2 ** (len(channels) - 1):
            raise SettingError(
                f"{len(channels)} convolutions halve the size {len(channels) - 1} times; the input "
                f"has {shape[1:]}"
            )
        activation_of(activation)
        check_residual(residual, channels)
        size = shape[1:]
        kernels, biases = [], []
        for i, (before, after) in enumerate(pairwise((shape[0], *channels))):
            columns = before * kernel ** len(size)
            weight, bias = initial_layer(
                jax.random.fold_in(key, i), after, columns, small=activation in KINKED
            )
            kernels.append(weight.reshape(after, before, *[kernel] * len(size)))
            biases.append(bias)
        for _ in channels[1:]:
            size = tuple(n // 2 for n in size)
        flat = channels[-1] * math.prod(size)
        of_head = jax.random.fold_in(key, len(channels))
        self.head = MLP(flat, out_size, hidden, activation, key=of_head)
        self.kernels, self.biases = tuple(kernels), tuple(biases)
        self.shape, self.activation, self.residual = shape, activation, residual

    def __call__(self, x: Float[Array, "in_size ..."]) -> Float[Array, "out_size ..."]:
        """The output at one flat input, or at a batch of them along a last axis."""
        return self.head(self.features(x))

    def features(self, x: Float[Array, "in_size ..."]) -> Float[Array, "features ..."]:
        """What the convolutions give to the dense layers."""
        function = activation_of(self.activation)
        spatial = len(self.shape) - 1
        rows = x.T.reshape(-1, *self.shape)
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if i:
                rows = _halved(rows, spatial)
            moved = lax.conv_general_dilated(
                rows,
                kernel,
                (1,) * spatial,
                "SAME",
                dimension_numbers=_LAYOUT[spatial],
                precision=lax.Precision.HIGHEST,
            )
            moved = function(moved + bias.reshape(-1, *[1] * spatial))
            rows = rows + moved if self.residual and i else moved
        flat = rows.reshape(len(rows), -1).T
        return flat[:, 0] if x.ndim == 1 else flat


def _halved(rows: Array, spatial: int) -> Array:
    """Means of neighbours, two along each direction; an odd last one is left out."""
    window = (1, 1, *[2] * spatial)
    # NumPy's zero: of one that is traced JAX does not see that this is a sum, and has no gradient.
    sums = lax.reduce_window(rows, np.zeros((), rows.dtype), lax.add, window, window, "VALID")
    return sums / 2**spatial
