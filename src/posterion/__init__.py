"""Posterion turns a likelihood, a simulation or a table into a calibrated, reusable distribution.

Importing ``posterion`` loads nothing heavy: JAX and the rooms come when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posterion import (
        bijections,
        bundles,
        diagnostics,
        distributions,
        emulators,
        errors,
        io,
        networks,
        optimisation,
        reports,
        sampling,
        targets,
        training,
    )
    from posterion.core.citations import cite
    from posterion.core.status import Status
    from posterion.distributions import families as flows
    from posterion.distributions import summarised
    from posterion.distributions.families import conditional_gan, quantile_network
    from posterion.emulators import Emulator, emulate
    from posterion.sampling import profile, sample_chain
    from posterion.targets import Parameter, Target
    from posterion.training import (
        Ensemble,
        Fit,
        Posterior,
        check_calibration,
        check_closure,
        classify,
        compare,
        distill,
        ensemble,
        fit,
        learn,
        load,
    )

    __version__: str

__all__ = [
    "Emulator",
    "Ensemble",
    "Fit",
    "Parameter",
    "Posterior",
    "Status",
    "Target",
    "__version__",
    "bijections",
    "bundles",
    "check_calibration",
    "check_closure",
    "cite",
    "classify",
    "compare",
    "conditional_gan",
    "diagnostics",
    "distill",
    "distributions",
    "emulate",
    "emulators",
    "ensemble",
    "errors",
    "fit",
    "flows",
    "io",
    "learn",
    "load",
    "networks",
    "optimisation",
    "profile",
    "quantile_network",
    "reports",
    "sample_chain",
    "sampling",
    "summarised",
    "targets",
    "training",
]

_ROOM_OF = {
    "Emulator": "emulators",
    "Ensemble": "training",
    "Fit": "training",
    "Parameter": "targets",
    "Posterior": "training",
    "Status": "core.status",
    "Target": "targets",
    "check_calibration": "training",
    "check_closure": "training",
    "cite": "core.citations",
    "classify": "training",
    "compare": "training",
    "conditional_gan": "distributions.families",
    "distill": "training",
    "emulate": "emulators",
    "ensemble": "training",
    "fit": "training",
    "flows": "distributions",
    "learn": "training",
    "load": "training",
    "profile": "sampling",
    "quantile_network": "distributions.families",
    "sample_chain": "sampling",
    "summarised": "distributions",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room on first use (PEP 562)."""
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("posterion")
    elif name in _ROOM_OF:
        value = getattr(import_module(f"posterion.{_ROOM_OF[name]}"), name)
    elif name in __all__:
        value = import_module(f"posterion.{name}")
    else:
        raise AttributeError(f"module 'posterion' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
