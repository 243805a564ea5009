"""The types of settings of ``emulate`` and ``distil``: wrong ones are refused by name.

NumPy's are made Python's.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import numpy as np

from posterion.core.errors import SettingError
from posterion.core.settings import (
    check_bool,
    check_number,
    check_positive,
    check_whole,
    is_whole,
    path_of,
)
from posterion.emulators.distilled import Distilled
from posterion.emulators.emulator import Emulator
from posterion.networks import Architecture

P = ParamSpec("P")
R = TypeVar("R")

_WHOLE = ("chains", "draws", "warmup", "thin", "rows", "epochs", "batch", "seed")
_NUMBERS = ("rate", "correction", "test", "seconds")
_BOOLS = ("resume", "quiet")


def named_settings(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with the types of its settings checked first, named as `posterion.emulate`'s.

    Raises:
        SettingError: at use, one of the wrong type; the message names it.
    """

    @wraps(function)
    def checked(*args: P.args, **settings: P.kwargs) -> R:
        call: Any = function
        return call(*args, **plain(settings))

    return checked


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as `posterion.emulate` takes them; those that are not there stay away.

    Raises:
        SettingError: one of the wrong type; the message names it.
    """
    made = dict(settings)
    for name in _WHOLE:
        if name in made:
            check_whole(**{name: made[name]})
            made[name] = int(made[name])
    for name in _NUMBERS:
        if name in made and not (name == "seconds" and made[name] is None):
            check = check_positive if name == "rate" else check_number
            check(**{name: made[name]})
            made[name] = int(made[name]) if is_whole(made[name]) else float(made[name])
    for name in _BOOLS:
        if name in made and not (name == "quiet" and made[name] is None):
            check_bool(**{name: made[name]})
            made[name] = bool(made[name])
    for name, check in _OTHERS.items():
        if made.get(name) is not None:
            made[name] = check(made[name])
    for name in ("log", "name"):
        if name in made and made[name] is None:
            raise SettingError(f"{name} must be text; got None: leave it out for the default")
    return made


def _network(network: Any) -> Any:
    if isinstance(network, Architecture | eqx.Module):
        return network
    wanted = (
        "network must be what posterion.networks.mlp or posterion.networks.convolutional gives, "
        "or an Equinox module"
    )
    made = getattr(network, "__module__", "").startswith("posterion.networks")
    if callable(network) and (made or isinstance(network, type)):
        called = getattr(network, "__name__", "it")
        raise SettingError(f"{wanted}; got {called} itself: call it, as in network={called}(...)")
    raise SettingError(f"{wanted}; got {network!r}")


def _names(names: Any) -> list[str]:
    several = [names] if isinstance(names, str) else names
    if not isinstance(several, Sequence | set | frozenset | np.ndarray) or not all(
        isinstance(name, str) for name in several
    ):
        raise SettingError(f"log must be the names of columns, such as ['mass']; got {names!r}")
    return [str(name) for name in several]


def _units(units: Any) -> dict[str, str]:
    if not isinstance(units, Mapping) or not all(
        isinstance(text, str) for pair in units.items() for text in pair
    ):
        raise SettingError(
            f"units must be the unit of each column by its name, such as {{'mass': 'GeV'}}; got "
            f"{units!r}"
        )
    return dict(units)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise SettingError(f"name must be text, and not empty; got {name!r}")
    return name


def _start(start: Any) -> Emulator:
    if isinstance(start, Distilled):
        raise SettingError(
            "start is a distilled emulator, which holds one network and no chains: give the "
            "emulator that it was distilled from"
        )
    if not isinstance(start, Emulator):
        raise SettingError(
            f"start must be an emulator, of posterion.emulate or posterion.load; got {start!r}"
        )
    return start


def _path(path: Any) -> Any:
    if path_of(path).is_dir():
        raise SettingError(f"path must be a file to keep the chains in; {str(path)!r} is a folder")
    return path if isinstance(path, str) else path_of(path)


def _devices(devices: Any) -> Any:
    if isinstance(devices, jax.Device):
        return [devices]
    return int(devices) if is_whole(devices) else devices


_OTHERS: dict[str, Callable[[Any], Any]] = {
    "network": _network,
    "log": _names,
    "units": _units,
    "name": _name,
    "start": _start,
    "path": _path,
    "devices": _devices,
}
