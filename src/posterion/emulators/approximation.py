"""What an approximation of the posterior is: a way to networks that is no chain."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Array

from posterion.core.errors import SettingError
from posterion.emulators.density import Data, Joint
from posterion.networks import MLP, Convolutional

Table = tuple[np.ndarray, np.ndarray, Data]


class Approximation(ABC):
    """A way to networks that is no chain.

    Attributes:
        path: networks that are held on the way to those of one chain, in double precision.
    """

    path: int = 0
    _cited: ClassVar[tuple[str, ...]] = ()

    @property
    def citations(self) -> tuple[str, ...]:
        """Keys of the papers of its method, for `posterion.cite`."""
        return self._cited

    def count(self, draws: int) -> int:
        """Networks that it gives of each trained one where ``draws`` are asked for."""
        return draws

    def check(self, joint: Joint) -> None:  # noqa: B027
        """Makes sure that it is for such networks; called before anything is trained.

        Raises:
            SettingError: it is not.
        """

    @abstractmethod
    def networks(
        self, joint: Joint, warmed: np.ndarray, table: Table, *, draws: int, batch: int, seed: int
    ) -> np.ndarray:
        """Vectors ``(chains, draws, dim)``.

        Args:
            joint: the density of a vector.
            warmed: trained vectors, (chains, dim).
            table: rows (n, inputs), their targets (n, targets), and both in chunks.
            draws: networks of each trained one.
            batch: rows of a step.
            seed: integer seed.
        """


def perceptron_of(network: Any, wanted: str) -> MLP:
    """The network if it is a perceptron, or its dense layers where it is convolutional.

    Args:
        network: any.
        wanted: for what, in the message.

    Raises:
        SettingError: the network is none of `posterion.networks`.
    """
    head = network.head if isinstance(network, Convolutional) else network
    if not isinstance(head, MLP):
        raise SettingError(
            f"{wanted} of {type(head).__name__} is not known: take a network of posterion.networks"
        )
    return head


def through_dense(network: Any, affine: Callable[[int, Array], Array], x: Array) -> Array:
    """Outputs ``(rows, outputs)`` with another ``affine(layer, values)`` in the dense layers.

    Args:
        network: of `posterion.networks`.
        affine: from values ``(inputs, rows)`` of a layer to what its activation acts on.
        x: ``(rows, inputs)``.
    """
    values = network.features(x.T) if isinstance(network, Convolutional) else x.T
    return perceptron_of(network, "the dense layers").through(affine, values).T
