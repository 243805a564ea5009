"""The options of the study ``likelihood-pyhf``."""

from dataclasses import dataclass
from pathlib import Path

from posterion.core.errors import SettingError
from posterion.studies.settings import setting


@dataclass(frozen=True)
class Settings:
    """The options of ``posterion run likelihood-pyhf``."""

    workspace: Path | None = setting(None, "HistFactory JSON, also .xz or .gz; by default our own")
    patch: Path | None = setting(None, "JSON patch of the workspace")
    measurement: str | None = setting(None, "by name; by default the workspace's first")
    samples: bool = setting(False, "fit flows to draws too, with and without their density")
    train: int = setting(100_000, "draws that the plain normal and the flows of samples see")
    held_out: int = setting(200_000, "further draws that every row is compared with")
    epochs: int = setting(60, "of each fit to samples, at most")
    steps: int | None = setting(None, "of learning from the density; by default the method's")
    particles: int | None = setting(None, "of the scouts; by default the method's")

    def __post_init__(self) -> None:
        least = {"train": 2000, "held_out": 2000, "epochs": 1, "steps": 1}
        for name, number in least.items():
            given = getattr(self, name)
            if given is not None and given < number:
                raise SettingError(f"{name} must be at least {number}, not {given}")
        if self.patch is not None and self.workspace is None:
            raise SettingError(f"the patch {self.patch} needs the workspace that it is of")
