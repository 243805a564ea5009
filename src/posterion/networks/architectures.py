"""Networks to be built when the data's sizes are known."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.core.settings import check_whole, widths_of
from posterion.networks.convolutions import Convolutional
from posterion.networks.perceptron import MLP


class Architecture(ABC):
    """A network without its sizes."""

    @abstractmethod
    def build(self, in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.Module:
        """The network, ``(in_size,)`` to ``(out_size,)``.

        Raises:
            SettingError: sizes that it cannot have.
        """


@register("architecture_mlp")
@dataclass(frozen=True)
class _Perceptron(Architecture):
    hidden: tuple[int, ...]
    activation: str
    residual: bool

    def build(self, in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.Module:
        settings = {"residual": self.residual, "key": key}
        return MLP(in_size, out_size, self.hidden, self.activation, **settings)


@register("architecture_convolutional")
@dataclass(frozen=True)
class _Convolutions(Architecture):
    shape: tuple[int, ...]
    channels: tuple[int, ...]
    kernel: int
    hidden: tuple[int, ...]
    activation: str
    residual: bool

    def build(self, in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.Module:
        whole = math.prod(self.shape)
        if whole != in_size:
            raise SettingError(f"the input has {in_size} columns, the shape {self.shape} {whole}")
        return Convolutional(
            self.shape,
            out_size,
            self.channels,
            self.kernel,
            self.hidden,
            self.activation,
            residual=self.residual,
            key=key,
        )


def mlp(
    hidden: tuple[int, ...] = (50, 50, 50), activation: str = "tanh", *, residual: bool = False
) -> Architecture:
    """A multilayer perceptron, to be built when the data's sizes are known.

    Args:
        hidden: widths of the hidden layers; empty for a linear map.
        activation: between layers: ``tanh``, ``relu``, ``leaky_relu``, ``silu``, ``gelu``,
            ``softplus``, ``elu``, or with a learned number for each unit ``prelu``, ``swish``,
            ``scaled_tanh``.
        residual: hidden layers after the first add to the one before.

    Raises:
        SettingError: unusable settings.

    >>> import jax
    >>> network = mlp((8, 8)).build(3, 1, key=jax.random.key(0))
    >>> network(jax.numpy.zeros(3)).shape
    (1,)
    """
    made = _Perceptron(widths_of("hidden", hidden, least=0), activation, residual)
    made.build(1, 1, key=jax.random.key(0))
    return made


def convolutional(
    shape: tuple[int, ...],
    channels: tuple[int, ...] = (16, 32),
    *,
    kernel: int = 3,
    hidden: tuple[int, ...] = (64,),
    activation: str = "relu",
    residual: bool = False,
) -> Architecture:
    """A convolutional network of one or two dimensions, on inputs that come flat.

    Arguments and errors as `Convolutional`.
    """
    check_whole(kernel=kernel)
    named = {"shape": shape, "channels": channels, "hidden": hidden}
    sizes = {name: widths_of(name, values, least=0) for name, values in named.items()}
    made = _Convolutions(**sizes, kernel=kernel, activation=activation, residual=residual)
    made.build(math.prod(made.shape), 1, key=jax.random.key(0))
    return made


def on_rows(network: eqx.Module, x: Array) -> Array:
    """The network's outputs ``(rows, out)`` at rows ``(rows, in)``, whatever the network is.

    Those of this room take the batch along a last axis; another module is mapped over the rows.
    """
    call: Callable[[Array], Array] = network  # pyright: ignore[reportAssignmentType]
    if isinstance(network, MLP | Convolutional):
        return call(x.T).T
    return jax.vmap(call)(x)
