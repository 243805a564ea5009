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
from posterion.networks.sets import DeepSet, SetAttention


class Architecture(ABC):
    """A network without its sizes."""

    @property
    def in_size(self) -> int | None:
        """Width of the input, where the network states it itself."""
        return None

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

    @property
    def in_size(self) -> int:
        return math.prod(self.shape)

    def build(self, in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.Module:
        whole = self.in_size
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


@dataclass(frozen=True)
class _OfSets(Architecture):
    points: int
    features: int

    @property
    def in_size(self) -> int:
        return self.points * self.features

    def _check(self, in_size: int) -> None:
        if in_size != self.in_size:
            raise SettingError(
                f"the input has {in_size} columns, {self.points} points of {self.features} "
                f"features {self.in_size}"
            )


@register("architecture_deep_set")
@dataclass(frozen=True)
class _DeepSets(_OfSets):
    each: tuple[int, ...]
    whole: tuple[int, ...]
    activation: str

    def build(self, in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.Module:
        self._check(in_size)
        sizes = self.points, self.features, out_size, self.each, self.whole, self.activation
        return DeepSet(*sizes, key=key)


@register("architecture_set_attention")
@dataclass(frozen=True)
class _SetAttentions(_OfSets):
    width: int
    heads: int
    blocks: int
    whole: tuple[int, ...]
    activation: str

    def build(self, in_size: int, out_size: int, *, key: PRNGKeyArray) -> eqx.Module:
        self._check(in_size)
        sizes = self.points, self.features, out_size, self.width, self.heads, self.blocks
        return SetAttention(*sizes, self.whole, self.activation, key=key)


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


def deep_set(
    points: int,
    features: int,
    *,
    each: tuple[int, ...] = (64, 64),
    whole: tuple[int, ...] = (64,),
    activation: str = "silu",
) -> Architecture:
    """A deep set: the same for any order of the points, and for any number of them.

    Arguments and errors as `DeepSet`.

    >>> import jax
    >>> deep_set(5, 2).build(10, 3, key=jax.random.key(0))(jax.numpy.zeros(10)).shape
    (3,)
    """
    sizes = {name: widths_of(name, w, least=1) for name, w in (("each", each), ("whole", whole))}
    made = _DeepSets(points, features, **sizes, activation=activation)
    made.build(made.in_size, 1, key=jax.random.key(0))
    return made


def set_attention(
    points: int,
    features: int,
    *,
    width: int = 32,
    heads: int = 4,
    blocks: int = 2,
    whole: tuple[int, ...] = (64,),
    activation: str = "silu",
) -> Architecture:
    """A set transformer: points look at each other, in the square of their number.

    Arguments and errors as `SetAttention`.
    """
    made = _SetAttentions(
        points, features, width, heads, blocks, widths_of("whole", whole, least=0), activation
    )
    made.build(made.in_size, 1, key=jax.random.key(0))
    return made


def on_rows(network: eqx.Module, x: Array) -> Array:
    """The network's outputs ``(rows, out)`` at rows ``(rows, in)``, whatever the network is.

    Those of this room take the batch along a last axis; another module is mapped over the rows.
    """
    call: Callable[[Array], Array] = network  # pyright: ignore[reportAssignmentType]
    if isinstance(network, MLP | Convolutional | DeepSet | SetAttention):
        return call(x.T).T
    return jax.vmap(call)(x)
