"""What a run of a study has learned, kept in its folder: on resuming what is there already."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from posterion.core.errors import CheckpointError
from posterion.training import load

__all__ = ["Run", "kept"]


@dataclass(frozen=True, eq=False)
class Run:
    """One run of a study: where it keeps what it learns, and what tells it from others.

    Attributes:
        study: its name.
        identity: seed, settings and inputs, as JSON values.
        seed: of everything.
        out: folder of what is kept.
        resume: take what is there already.
    """

    study: str
    identity: Mapping[str, Any]
    seed: int
    out: Path
    resume: bool

    def path(self, name: str) -> Path:
        """The bundle of that name."""
        return self.out / f"{name.replace(' ', '-')}.posterion"

    def checkpoint(self, name: str) -> Path:
        """Where the learning of that bundle is kept as it goes."""
        return self.path(name).with_suffix(".checkpoint")


def kept(run: Run, name: str, make: Callable[[], Any]) -> tuple[Any, float]:
    """What ``make`` learns, saved, and the seconds it took; on resuming what is there already.

    Raises:
        CheckpointError: what is there is of another seed, other settings or other inputs.
    """
    path = run.path(name)
    if run.resume and path.exists():
        result = load(path)
        if result.provenance.get("part") != run.identity:
            raise CheckpointError(
                f"{path} belongs to another run; give the same settings, or run without --resume"
            )
        return result, float(result.provenance["seconds"])
    if not run.resume:
        run.checkpoint(name).unlink(missing_ok=True)
    began = time.perf_counter()
    result = make()
    seconds = time.perf_counter() - began
    known = {"study": run.study, "part": dict(run.identity), "seconds": seconds}
    result = replace(result, provenance={**result.provenance, **known})
    result.save(path)
    return result, seconds
