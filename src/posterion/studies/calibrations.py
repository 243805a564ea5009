"""A calibration as the health of a result, and as figures of a study."""

from typing import Any

from posterion.core.status import Status
from posterion.diagnostics import Calibration, Check, Health
from posterion.diagnostics.calibrated import COVERAGES
from posterion.studies.base import Figure

__all__ = ["calibration_figures", "health_of"]


def health_of(found: Calibration, result: Any) -> Health:
    """The health of a conditional result by a calibration of it."""
    limit = found.alpha / len(found.names)
    return Health(
        Status.fitted if found.ok else Status.misfit,
        result.name,
        () if found.ok else (found.verdict,),
        tuple(
            Check(
                f"ranks of {name}, p-value",
                float(p),
                None,
                f"> {limit:.2g}",
                "good" if p > limit else "bad",
            )
            for name, p in zip(found.names, found.p_values, strict=True)
        ),
        measure=result.health.measure,
        notes=(f"simulation-based calibration with {found.pairs} fresh pairs",),
    )


def calibration_figures(found: Calibration, prefix: str = "") -> dict[str, Any]:
    """Its p-value, and of each coordinate coverage and spread over that of the prior."""
    figures: dict[str, Any] = {
        f"{prefix}calibration.p_value": found.p_value,
        f"{prefix}calibration.alpha": found.alpha,
    }
    for i, name in enumerate(found.names[: found.coordinates]):
        for level, said in zip(COVERAGES[:2], ("68", "95"), strict=True):
            covered = found.coverage(name, level).value
            figures[f"{prefix}{name}.coverage_{said}"] = Figure(covered, truth=level)
        figures[f"{prefix}{name}.sd_over_prior"] = float(found.shrinkage[i])
    return figures
