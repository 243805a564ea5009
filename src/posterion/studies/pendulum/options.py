"""The options of the study ``pendulum``."""

from dataclasses import dataclass

from posterion.core.errors import SettingError
from posterion.studies.pendulum.simulation import LEAST_NOISE
from posterion.studies.settings import setting

METHODS = (
    "ensemble", "concrete-dropout", "flipout", "log-ensemble", "sampled", "quantiles", "flows",
)  # fmt: skip
"""Names of the methods, the published ones first."""


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run pendulum``."""

    noise: tuple[float, ...] = setting(
        (0.05, 0.1, 0.2), "most relative noise of a period; each is learned anew"
    )
    methods: tuple[str, ...] = setting(METHODS, "what learns, of these")
    seeds: int = setting(1, "runs of each, the first with the run's seed")
    train: int = setting(100_000, "pendulums to learn from, a tenth of them held out")
    test: int = setting(10_000, "further pendulums, of each range of lengths")
    members: int = setting(10, "of the deep ensembles, and passes of dropout and of flipout")
    flows: int = setting(5, "members of the ensembles of quantile networks and of flows")
    epochs: int = setting(40, "of each member of an ensemble")
    long_epochs: int = setting(200, "of dropout and of flipout")
    chains: int = setting(4, "of the sampled networks")
    draws: int = setting(10, "networks kept of each chain")
    warmup: int = setting(200, "transitions that tune the chains")
    thin: int = setting(10, "transitions for each network")

    def __post_init__(self) -> None:
        least = {"seeds": 1, "train": 1000, "test": 200, "members": 2, "flows": 2, "epochs": 1}
        least |= {"long_epochs": 1, "chains": 2, "draws": 2, "warmup": 10, "thin": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise SettingError(f"{name} must be at least {number}, not {getattr(self, name)}")
        if not self.noise or not all(LEAST_NOISE < noise < 0.5 for noise in self.noise):
            raise SettingError(
                f"noise lies between {LEAST_NOISE} (each pendulum has at least this) and .5, got "
                f"{' '.join(map(str, self.noise)) or 'none'}"
            )
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown or not self.methods:
            raise SettingError(
                f"methods names {', '.join(unknown) or 'none'}; there are {', '.join(METHODS)}"
            )
        for name in ("noise", "methods"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise SettingError(f"{name} has an entry twice")
