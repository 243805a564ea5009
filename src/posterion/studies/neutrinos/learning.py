"""What is learned of each ordering and release, and what is kept so that a run can go on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from posterion.core.errors import CheckpointError, SettingError, TableError
from posterion.core.progress import progress
from posterion.core.versions import versions
from posterion.studies.neutrinos.options import Settings
from posterion.studies.neutrinos.releases import CARRIED, find_release
from posterion.studies.neutrinos.tables import Tables, read_tables
from posterion.studies.neutrinos.target import ChiSquared, neutrino_target
from posterion.studies.neutrinos.truth import Truth, exact
from posterion.targets import Target
from posterion.training import MixedPosterior, Posterior, learn, load

STUDY_NAME = "neutrinos"


@dataclass(frozen=True, eq=False)
class Case:
    """One ordering of one release: what is learned, and its exact posterior.

    Fields: `label`, short for names of files and figures, such as "5.3"; `given`, how the user
    named the release; `tables`; `sha256` of their file; `target`; `truth`.
    """

    label: str
    given: str
    tables: Tables
    sha256: str
    target: Target
    truth: Truth

    @property
    def ordering(self) -> str:
        """``"NO"`` or ``"IO"``."""
        return self.tables.ordering

    @property
    def provenance(self) -> dict[str, Any]:
        """What a result keeps, so that its target can be made anew."""
        return {
            "study": STUDY_NAME,
            "release": self.given,
            "ordering": self.ordering,
            "tables": Path(self.tables.source).name,
            "tables_sha256": self.sha256,
            "theta13_theta23": len(self.truth.chi2.terms) > 3,
        }

    @property
    def citations(self) -> tuple[str, ...]:
        """Of the tables."""
        data = "esteban2024" if self.tables.release.startswith("6") else "esteban2020"
        return (data, "baur2024") if self.given in CARRIED else (data,)


def make_case(given: str, ordering: str, *, theta13_theta23: bool = False) -> Case:
    """Read the tables of one ordering and sum them.

    Raises TableError, or MissingExtraError if flavorpy is needed and not installed.
    """
    path = find_release(given, ordering)
    tables = read_tables(path, ordering)
    chi2 = ChiSquared.of(tables, theta13_theta23=theta13_theta23)
    target = neutrino_target(tables, theta13_theta23=theta13_theta23)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Case(tables.release, given, tables, digest, target, exact(chi2))


def same_case(provenance: Mapping[str, Any]) -> Case:
    """The case that a result was learned from.

    Raises:
        SettingError: the result is of another study.
        TableError: the tables are not there, or are not the ones.
    """
    if provenance.get("study") != STUDY_NAME or "release" not in provenance:
        raise SettingError("the result is not one of the study 'neutrinos': check it with its own")
    case = make_case(
        provenance["release"],
        provenance["ordering"],
        theta13_theta23=bool(provenance["theta13_theta23"]),
    )
    if case.sha256 != provenance["tables_sha256"]:
        raise TableError(
            f"{case.tables.source}: not the tables {provenance['tables']} that the result was "
            f"learned from (SHA-256 {case.sha256[:12]}..., then "
            f"{provenance['tables_sha256'][:12]}...); put those in its place."
        )
    return case


def make_cases(settings: Settings) -> dict[str, dict[str, Case]]:
    """All cases by label and ordering; the first label is the main release's."""
    cases: dict[str, dict[str, Case]] = {}
    count = len(settings.release) * len(settings.orderings)
    with progress("reading tables", total=count) as bar:
        for given in settings.release:
            found = {}
            for ordering in settings.orderings:
                coupled = settings.theta13_theta23
                found[ordering] = make_case(given, ordering, theta13_theta23=coupled)
                bar.update(advance=1)
            label = _free_label(next(iter(found.values())), cases)
            cases[label] = {k: replace(case, label=label) for k, case in found.items()}
    return cases


class Learner:
    """Learns the parts of a study one by one, and keeps what is done until the study ends."""

    def __init__(self, settings: Settings, seed: int, out: Path, resume: bool):
        self.settings, self.seed, self.out, self.resume = settings, seed, out, resume
        if not resume:
            self.clear()

    def clear(self) -> None:
        """Remove what was kept."""
        for path in self.out.glob("checkpoint-*"):
            if path.suffix in (".safetensors", ".posterion"):
                path.unlink(missing_ok=True)

    def learn(
        self, case: Case, part: str = "", *, method: str = "default", budget: int | None = None
    ) -> Posterior:
        """Learn one part, or take it up where it was left.

        Raises:
            CheckpointError: what was kept belongs to other settings.
        """
        name = "-".join(x for x in ("checkpoint", case.label, case.ordering, part) if x)
        finished = self.out / f"{name}.posterion"
        asked = {k: getattr(self.settings, k) for k in ("steps", "particles")}
        changes = {k: v for k, v in asked.items() if v is not None}
        identity = {
            **case.provenance,
            **changes,
            "method": method,
            "budget": budget,
            "seed": self.seed,
            "posterion": versions()["posterion"],
        }
        if self.resume and finished.exists():
            return self._kept(finished, identity).with_target(case.target)
        posterior = learn(
            case.target,
            seed=self.seed,
            method=method,
            budget=budget,
            checkpoint=self.out / f"{name}.safetensors",
            resume=self.resume,
            **changes,
        )
        posterior = replace(
            posterior,
            provenance={**posterior.provenance, **case.provenance},
            citations=(*posterior.citations, *case.citations),
        )
        kept = {**posterior.provenance, "part": identity}
        replace(posterior, provenance=kept).save(finished)
        return posterior

    def _kept(self, path: Path, identity: dict[str, Any]) -> Posterior:
        posterior = load(path)
        provenance = dict(posterior.provenance)
        before = provenance.pop("part", {})
        changed = sorted(k for k in {*before, *identity} if before.get(k) != identity.get(k))
        if changed:
            raise CheckpointError(
                f"{path} belongs to another run (different: {', '.join(changed)}); give the same "
                f"settings, or run without --resume"
            )
        return replace(posterior, provenance=provenance)


def mix(cases: Mapping[str, Case], posteriors: Mapping[str, Posterior]) -> Any:
    """The posterior of one ordering, or both mixed by evidence with equal prior odds.

    The offset of an ordering, its chi-squared above the other's, enters once, as ``-offset / 2``.
    """
    if len(posteriors) == 1:
        return next(iter(posteriors.values()))
    first = next(iter(cases.values()))
    offsets = {ordering: case.tables.offset for ordering, case in cases.items()}
    given = {k: v for k, v in first.provenance.items() if k in ("study", "release")}
    one = next(iter(posteriors.values())).provenance
    return MixedPosterior.of(
        posteriors,
        name=f"NuFIT {first.tables.release}",
        hypothesis="ordering",
        log_offsets={ordering: -offset / 2 for ordering, offset in offsets.items()},
        provenance={
            **{k: one[k] for k in ("created", "seed", "python", "machine") if k in one},
            **given,
            "orderings": list(posteriors),
            "prior_odds": "equal",
            "chi2_offsets": offsets,
        },
    )


def _free_label(case: Case, taken: Mapping[str, Any]) -> str:
    plain = case.tables.release
    label = plain if plain not in taken else f"{plain}-{case.tables.variant or 'b'}"
    while label in taken:
        label += "b"
    return "".join(c if c.isalnum() or c in ".-_" else "_" for c in label)
