"""The settings of the study ``neutrinos``; light, so that they can be listed without JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from posterion.core.errors import SettingError
from posterion.studies.settings import setting


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run neutrinos``."""

    ordering: Literal["NO", "IO", "both"] = setting("both", "mass ordering")
    release: tuple[str, ...] = setting(
        ("5.3",),
        "5.3, 5.2, or a file or folder of tables; further ones are compared with it",
    )
    theta13_theta23: bool = setting(False, "add the term that couples theta13 and theta23")
    method: Literal["default", "poster"] = setting("default", "how to learn")
    steps: int | None = setting(None, "steps of learning; by default those of the method")
    particles: int | None = setting(None, "particles of the scouts; by default the method's")
    draws: int = setting(100_000, "fresh draws that the figures are measured with")
    poster: bool = setting(True, "learn by the poster's recipe too")
    budget: int | None = setting(100_000, "density calls of one more, short run; none: no such run")
    chains: bool = setting(True, "run NUTS and emcee on the same target")
    transitions: int = setting(2000, "of each chain of NUTS; emcee does twice as many steps")

    def __post_init__(self) -> None:
        for name, least in (("draws", 1000), ("transitions", 50), ("steps", 1), ("particles", 50)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise SettingError(f"the setting {name!r} must be at least {least}, not {value}")
        if len(set(self.release)) < len(self.release) or not self.release:
            raise SettingError(f"name each release once, not {' '.join(self.release) or 'none'}")

    @property
    def orderings(self) -> tuple[str, ...]:
        """Those that are learned."""
        return ("NO", "IO") if self.ordering == "both" else (self.ordering,)
