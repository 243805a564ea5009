"""The options of the study ``amortised``."""

from dataclasses import dataclass
from typing import Literal

from posterion.core.errors import SettingError
from posterion.studies.settings import setting

Which = Literal["all", "two-moons", "sir", "sets"]


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run amortised``."""

    case: Which = setting("all", "which of the three, or all")
    train: int = setting(100_000, "simulations to learn from, of each case")
    epochs: int = setting(40, "of each fit, at most; two moons take three times as many")
    pairs: int = setting(1000, "further simulations for the calibration")
    draws: int = setting(400, "from the posterior of each of them")
    observed: int = setting(12, "further simulations whose exact posterior is compared with")
    compared: int = setting(10_000, "draws from either posterior for each of these")
    points: int = setting(20, "of the largest set")

    def __post_init__(self) -> None:
        least = {
            "train": 500, "epochs": 1, "pairs": 20, "draws": 10,
            "observed": 1, "compared": 200, "points": 2,
        }  # fmt: skip
        for name, number in least.items():
            if getattr(self, name) < number:
                raise SettingError(f"{name} must be at least {number}, not {getattr(self, name)}")
