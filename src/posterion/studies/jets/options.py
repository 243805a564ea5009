"""The options of the study ``jets``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posterion.core.errors import SettingError
from posterion.studies.settings import setting

ModelName = Literal["monotone", "one", "separate", "published", "spline"]


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run jets``."""

    jets: int = setting(100_000, "pairs of jets that are generated")
    gen: Path | None = setting(None, "your own table of generated jets: pt, eta, phi, m")
    reco: Path | None = setting(None, "your own table of reconstructed jets, of the same jets")
    models: tuple[ModelName, ...] = setting(
        ("spline", "monotone"), "the first one learns the correction too"
    )
    epochs: int = setting(20, "passes over the training pairs, at most")
    batch: int = setting(1024, "pairs of a step")
    processes: int = setting(1, "that generate events")
    cache: Path | None = setting(None, "folder of generated chunks; by default within out")
    parametrised: bool = setting(False, "a fast sample in closed form, without Pythia")

    def __post_init__(self) -> None:
        least = {"jets": 1000, "epochs": 1, "batch": 1, "processes": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise SettingError(f"{name} must be at least {number}, not {getattr(self, name)}")
        if (self.gen is None) != (self.reco is None):
            raise SettingError("your own jets take two tables: give both gen and reco")
        if self.gen is not None and self.parametrised:
            raise SettingError("your own tables leave nothing to generate: drop parametrised")
        if not self.models or len(set(self.models)) < len(self.models):
            raise SettingError("models takes at least one name, each once")
