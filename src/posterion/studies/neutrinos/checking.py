"""``posterion check``: the health of a saved result against the tables, measured anew."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.progress import progress
from posterion.core.status import Status
from posterion.diagnostics import Health
from posterion.studies.neutrinos.learning import same_case
from posterion.targets.target import x_of
from posterion.training import MixedPosterior, Posterior
from posterion.training.assessment import Witness, measure
from posterion.training.scouting import first_frame, lay_out, survey

_PARTICLES = 2048
_DRAWS = 20_000


@dataclass(frozen=True)
class Checked:
    """The health of each part of a result; printing it gives all reports.

    Fields: `healths` by ordering.
    """

    healths: Mapping[str, Health]

    @property
    def status(self) -> Status:
        """That of the first part which is not sound, else of the first."""
        found = [health.status for health in self.healths.values()]
        return next((status for status in found if not status.ok), found[0])

    def __str__(self) -> str:
        return "\n\n".join(str(health) for health in self.healths.values())


def check_result(result: Any, *, seed: int) -> Checked:
    """Measure the health of a posterior of this study, or of each part of a mixture.

    Raises:
        SettingError: the result is of another study.
        TableError: the tables that it was learned from are not there.
    """
    if isinstance(result, MixedPosterior):
        parts = dict(zip(result.labels, result.posteriors, strict=True))
    elif isinstance(result, Posterior):
        parts = {result.name: result}
    else:
        raise SettingError("the study 'neutrinos' checks posteriors; this file holds another thing")
    with progress(f"checking {result.name}", total=2 * len(parts)) as bar:
        return Checked({label: _measured(part, seed, bar) for label, part in parts.items()})


def _measured(posterior: Posterior, seed: int, bar: Any) -> Health:
    target = same_case(posterior.provenance).target
    began = time.perf_counter()
    frame, calls, searched = first_frame(target, seed)
    found, _ = survey(target, frame, particles=_PARTICLES, seed=seed)
    ground = lay_out(target, frame, found, calls, searched, whiten=True)
    evidence = Estimate(found.log_evidence, found.error)
    witness = Witness(x_of(frame, found.u), evidence, found.ancestors, ground.modes, frame)
    bar.update(advance=1)
    health = measure(
        posterior,
        target,
        witness,
        draws=_DRAWS,
        seed=seed,
        calls={"scouting": ground.calls},
        seconds={"scouting": time.perf_counter() - began},
        searched=searched,
    )
    bar.update(advance=1)
    return health
