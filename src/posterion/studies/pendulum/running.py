"""Running the study: pendulums, methods, the exact posterior, what is written."""

import time
from dataclasses import asdict, replace
from pathlib import Path

from posterion.core import portable
from posterion.core.errors import CheckpointError
from posterion.core.files import write_json
from posterion.core.progress import progress
from posterion.core.versions import versions
from posterion.reports import write_page
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.pendulum.measuring import RANGES, Measured, measured
from posterion.studies.pendulum.methods import EXACT, TITLES, Said, learned, said
from posterion.studies.pendulum.options import Settings
from posterion.studies.pendulum.page import figures_of, page, text
from posterion.studies.pendulum.simulation import Pendulums, simulated
from posterion.studies.pendulum.truth import posterior

__all__ = ["run_study"]


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn, judge, compare; write bundles, ``metrics.json`` and ``report.html``.

    Raises:
        CheckpointError: to resume, parts of another run.
    """
    began = time.perf_counter()
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    found: list[Measured] = []
    files: dict[str, Path] = {}
    total = len(settings.noise) * settings.seeds * (len(settings.methods) + 1)
    with progress("pendulum", total=total) as bar:
        for noise in settings.noise:
            for own in range(seed, seed + settings.seeds):
                run = _Run(settings, noise, own, seed, out, resume)
                for method in settings.methods:
                    bar.update(description=f"{TITLES[method]}, noise {noise}, seed {own}")
                    found.append(run.judged(method))
                    files |= run.files
                    bar.update(len(found))
                found.append(run.judged(EXACT))
                bar.update(len(found))
    metrics, report = out / "metrics.json", out / "report.html"
    seconds = time.perf_counter() - began
    write_metrics(metrics, "pendulum", seed, seconds, figures_of(found))
    write_page(report, page(found, settings))
    return Outcome(text(found), (*files.values(), report, metrics))


class _Run:
    """One seed at one noise."""

    def __init__(
        self, settings: Settings, noise: float, seed: int, first: int, out: Path, resume: bool
    ) -> None:
        self.settings, self.noise, self.seed = settings, noise, seed
        self.keeps, self.out, self.resume = seed == first, out, resume
        self.files: dict[str, Path] = {}
        self._tests: dict[str, Pendulums] = {}

    @property
    def tests(self) -> dict[str, Pendulums]:
        """Pendulums of each range that nothing was learned from."""
        if not self._tests:
            self._tests = {
                name: simulated(
                    self.settings.test, self.noise, lengths=lengths, seed=self._other(1 + i)
                )
                for i, (name, lengths) in enumerate(RANGES.items())
            }
        return self._tests

    def _other(self, number: int) -> int:
        return self.seed + 1_000_003 * number

    def judged(self, method: str) -> Measured:
        """The figures of a method: those kept, to resume, or made now."""
        place = self.out / "parts" / f"{method}-{self.noise:g}-{self.seed}.json"
        bundle = self._bundle(method)
        identity = {
            name: value
            for name, value in asdict(self.settings).items()
            if name not in ("noise", "methods", "seeds")
        } | {"posterion": versions()["posterion"]}
        there = self.resume and place.exists() and (bundle is None or bundle.exists())
        if there:
            content = portable.loads(place.read_bytes())
            if content.pop("identity") != identity:
                raise CheckpointError(
                    f"{place} is of a run with other settings: remove it, or run without --resume"
                )
            if bundle is not None:
                self.files[method] = bundle
            return Measured(**content)
        made = self._exact() if method == EXACT else self._method(method, bundle)
        write_json(place, asdict(made) | {"identity": identity})
        return made

    def _bundle(self, method: str) -> Path | None:
        """Of the first seed: the flows are the study's result, the others stand beside it."""
        if method == EXACT or not self.keeps or self.noise != max(self.settings.noise):
            return None
        main = "flows" if "flows" in self.settings.methods else self.settings.methods[-1]
        return self.out / f"pendulum{'' if method == main else '-' + method}.posterion"

    def _method(self, method: str, bundle: Path | None) -> Measured:
        rows = simulated(self.settings.train, self.noise, seed=self.seed)
        began = time.perf_counter()
        model = learned(method, rows, self.settings, self.seed)
        seconds = time.perf_counter() - began
        if bundle is not None:
            model = replace(model, provenance=model.provenance | {"study": "pendulum"})
            model.save(bundle)
            self.files[method] = bundle
        answers = {name: said(model, test) for name, test in self.tests.items()}
        return measured(method, self.noise, self.seed, self.tests, answers, seconds)

    def _exact(self) -> Measured:
        """By quadrature, under the prior of the rows: out of range it is wrong."""
        began = time.perf_counter()
        answers = {}
        for name, test in self.tests.items():
            found = posterior(test, self.noise)
            answers[name] = Said(found.mean, found.sd, 0 * found.sd, found.below)
        seconds = time.perf_counter() - began
        return measured(EXACT, self.noise, self.seed, self.tests, answers, seconds)
