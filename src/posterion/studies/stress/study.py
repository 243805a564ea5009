"""The study ``stress``: targets of exact truth, each learned with the same settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posterion.core.errors import SettingError
from posterion.studies.base import Outcome, Study
from posterion.studies.settings import setting

if TYPE_CHECKING:
    from posterion.diagnostics import Health


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run stress``."""

    targets: tuple[str, ...] = setting((), "which ones, such as four-modes ring; all by default")
    draws: int = setting(20_000, "exact draws, and draws of the flow, that it is measured with")
    steps: int | None = setting(None, "steps of each attempt; by default those of the method")
    particles: int | None = setting(None, "particles of the scouts; by default the method's")

    def __post_init__(self) -> None:
        for name, least in (("draws", 1000), ("steps", 1), ("particles", 50)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(f"the setting {name!r} must be at least {least}, not {value}")
        if len(set(self.targets)) < len(self.targets):
            raise SettingError(f"name each target once, not {' '.join(self.targets)}")


def run(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn each target, measure it against its truth, and write bundles, metrics and page."""
    from posterion.studies.stress.running import run_study

    return run_study(settings, seed=seed, out=out, resume=resume)


def check(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result of this study anew.

    Raises:
        SettingError: it is not of this study.
    """
    from posterion.studies.stress.running import check_result

    return check_result(result, seed=seed)


STUDY = Study(
    "stress",
    "ten targets of exact truth: modes, ring, funnel, bananas, walls, torus, 50 dimensions",
    Settings,
    run,
    check,
)
