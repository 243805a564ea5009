"""The options of the study ``stress``."""

from __future__ import annotations

from dataclasses import dataclass

from posterion.core.errors import SettingError
from posterion.studies.settings import setting


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
