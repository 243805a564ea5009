"""The options of the study ``susy``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posterion.core.errors import SettingError
from posterion.studies.settings import setting

TaskName = Literal["all", "cross-section", "higgs-mass", "viability"]
SamplerName = Literal["mclmc", "sghmc", "adjusted-mclmc", "hmc", "nuts"]


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run susy``."""

    task: TaskName = setting("all", "what is emulated")
    table: Path | None = setting(None, "your own scan: the 19 parameters, sigma, m_h, viable")
    slha: Path | None = setting(None, "a folder of SLHA files, in place of a table")
    rows: int = setting(20_000, "rows that are trained on, of each task")
    held_out: int = setting(20_000, "rows of the test, and as many of the correction")
    epochs: int = setting(300, "of Adam, before the chains")
    batch: int = setting(64, "rows of a step of Adam; larger ones generalise less")
    sampler: SamplerName = setting("mclmc", "of the networks; sghmc for very many rows")
    chains: int = setting(8, "each with a start of its own")
    draws: int = setting(25, "networks kept of each chain")
    warmup: int = setting(1000, "transitions that tune the chains")
    thin: int = setting(40, "transitions for each network")
    beside: tuple[str, ...] = setting(
        ("ensemble", "laplace", "swag"), "samplers to compare with, from the same start"
    )
    processes: int = setting(1, "that scan the parameters")
    cluster: str | None = setting(None, "address of a Dask scheduler that scans, tcp://...")

    def __post_init__(self) -> None:
        least = {"rows": 200, "held_out": 100, "epochs": 1, "chains": 1, "draws": 1, "warmup": 0}
        for name, number in (least | {"batch": 1, "thin": 1, "processes": 1}).items():
            if getattr(self, name) < number:
                raise SettingError(f"{name} must be at least {number}, not {getattr(self, name)}")
        if self.table is None and self.slha is None and self.rows * 4 < self.held_out:
            raise SettingError(
                f"held_out = {self.held_out} rows each for test and correction beside {self.rows} "
                f"to train on: give at most held_out = {4 * self.rows}"
            )
        if self.table is not None and self.slha is not None:
            raise SettingError("table and slha are two sources of the same rows: give one")
