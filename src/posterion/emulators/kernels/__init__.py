"""Transitions of a chain of vectors, and how they are tuned; most of the moves are BlackJAX's."""

from collections.abc import Iterable
from typing import Any

from posterion.core.errors import SettingError
from posterion.emulators.kernels.alternating import Alternated
from posterion.emulators.kernels.base import Info, Kernel, Tuning
from posterion.emulators.kernels.hamiltonian import Hmc, Nuts
from posterion.emulators.kernels.learning import L2hmc
from posterion.emulators.kernels.microcanonical import AdjustedMclmc, Mclmc
from posterion.emulators.kernels.riemannian import Rmhmc
from posterion.emulators.kernels.stochastic import Sghmc

__all__ = [
    "AdjustedMclmc",
    "Alternated",
    "Hmc",
    "Info",
    "Kernel",
    "L2hmc",
    "Mclmc",
    "Nuts",
    "Rmhmc",
    "Sghmc",
    "Tuning",
    "make_kernel",
]

KERNELS: dict[str, Kernel] = {
    "nuts": Nuts(),
    "hmc": Hmc(),
    "mclmc": Mclmc(),
    "adjusted-mclmc": AdjustedMclmc(),
    "sghmc": Sghmc(),
    "rmhmc": Rmhmc(),
    "l2hmc": L2hmc(),
    "alternated": Alternated(Hmc(), Nuts()),
}
"""The kernels by name."""


def make_kernel(sampler: Any, others: Iterable[str] = ()) -> Kernel:
    """The kernel that is named or given.

    Args:
        sampler: its name, or the kernel itself.
        others: names that the caller knows as well, for the message.

    Raises:
        SettingError: neither.
    """
    if isinstance(sampler, Kernel):
        return sampler
    if not isinstance(sampler, str) or sampler not in KERNELS:
        known = ", ".join((*KERNELS, *others))
        raise SettingError(f"unknown sampler {sampler!r}; choose one of {known}")
    return KERNELS[sampler]
