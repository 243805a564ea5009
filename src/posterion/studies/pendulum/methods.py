"""The methods: what learns gravity from the features, and what it then says of pendulums.

The networks have the published size, three layers of 100, and ReLU where they give a Gaussian as
published; quantile networks and flows are smooth. The published methods see the features as they
are, the others logarithms of length and periods: in these gravity is nearly linear, which is what a
network goes on with beyond its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from posterion.distributions import families as flows
from posterion.emulators import Emulator, emulate
from posterion.emulators.dropout import ConcreteDropout
from posterion.emulators.variational import Flipout
from posterion.networks import mlp
from posterion.studies.pendulum.options import Settings
from posterion.studies.pendulum.simulation import FEATURES, GRAVITY, Pendulums
from posterion.training import Ensemble, ensemble
from posterion.training.conditional import levels_of

__all__ = ["EXACT", "TITLES", "Said", "learned", "said"]

Floats = NDArray[np.float64]

WIDTHS = (100, 100, 100)
_NETWORK = mlp(WIDTHS, "relu")
_BOUNDS = [GRAVITY]
_PUBLISHED = ("ensemble", "concrete-dropout", "flipout")
_LOGS = [name for name in FEATURES if name.startswith(("L", "T"))]

EXACT = "exact"

TITLES = {
    "ensemble": "deep ensemble",
    "concrete-dropout": "concrete dropout",
    "flipout": "variational network",
    "log-ensemble": "deep ensemble, logarithms",
    "sampled": "sampled networks",
    "quantiles": "quantile networks",
    "flows": "conditional flows",
    EXACT: "exact posterior",
}
"""By name."""


@dataclass(frozen=True, eq=False)
class Said:
    """What a method says of pendulums, arrays of one entry each.

    Attributes:
        mean: of gravity, m/s^2.
        aleatoric: its standard deviation by the noise of the features, m/s^2.
        epistemic: by what the networks do not know, m/s^2.
        below: its probability below the true gravity.
    """

    mean: Floats
    aleatoric: Floats
    epistemic: Floats
    below: Floats


def learned(method: str, rows: Pendulums, settings: Settings, seed: int) -> Emulator | Ensemble:
    """What a method learns from rows."""
    if method in ("quantiles", "flows"):
        return ensemble(
            _FLOWS[method],
            {"g": rows.g},
            context=_conditions(rows),
            members=settings.flows,
            bootstrap=False,
            epochs=settings.epochs,
            rate=2e-3,
            validation=0.1,
            seed=seed,
            name="pendulum",
        )
    common: dict[str, Any] = {
        "log": [] if method in _PUBLISHED else _LOGS,
        "network": _NETWORK,
        "likelihood": "heteroscedastic",
        "correction": 0.05,
        "test": 0.05,
        "epochs": settings.epochs,
        "seed": seed,
        "name": "pendulum",
    }
    if method in ("ensemble", "log-ensemble"):
        more = {"sampler": "ensemble", "chains": settings.members}
    elif method == "sampled":
        more = {
            "sampler": "mclmc",
            "chains": settings.chains,
            "draws": settings.draws,
            "warmup": settings.warmup,
            "thin": settings.thin,
        }
    else:
        how: Any = Flipout(epochs=settings.long_epochs, rate=1e-4)
        if method == "concrete-dropout":
            how = ConcreteDropout(epochs=settings.long_epochs)
        more = {"sampler": how, "chains": 1, "draws": settings.members}
    inputs = dict(zip(FEATURES, rows.features.T, strict=True))
    return emulate(inputs, {"g": rows.g}, units={"g": "m/s^2"}, **common, **more)


def _conditions(pendulums: Pendulums) -> dict[str, Floats]:
    """What flows see: the features, logarithms of length and periods among them."""
    columns = dict(zip(FEATURES, pendulums.features.T, strict=True))
    return {
        f"log {name}" if name in _LOGS else name: np.log(a) if name in _LOGS else a
        for name, a in columns.items()
    }


def _quantiles(seed: int) -> Any:
    return flows.quantile_network(1, len(FEATURES), hidden=WIDTHS, bounds=_BOUNDS, seed=seed)


def _spline(seed: int) -> Any:
    return flows.autoregressive_spline(
        1, context_dim=len(FEATURES), transforms=1, hidden=WIDTHS, activation="silu",
        bounds=_BOUNDS, seed=seed,
    )  # fmt: skip


_FLOWS: dict[str, Callable[[int], Any]] = {"quantiles": _quantiles, "flows": _spline}


def said(model: Emulator | Ensemble, pendulums: Pendulums) -> Said:
    """What a model says of pendulums.

    Networks of a Gaussian are taken together as published: one normal of both variances. Flows are
    taken as they are: their mixture.
    """
    if isinstance(model, Emulator):
        found = model.predict(dict(zip(FEATURES, pendulums.features.T, strict=True)))
        below = ndtr((pendulums.g - found.mean) / found.sd)
        return Said(found.mean, found.aleatoric, found.epistemic, below)
    given = _conditions(pendulums)
    parts = model.predict(given)
    each = [levels_of(m, pendulums.g[:, None], given) for m in model.members]
    below = np.mean(each, axis=0)[:, 0]
    return Said(parts.mean[:, 0], parts.aleatoric[:, 0], parts.epistemic[:, 0], below)
