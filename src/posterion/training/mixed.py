"""Posteriors of competing hypotheses, mixed by their evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posterion import bundles
from posterion.core.errors import SettingError, ThetaError
from posterion.core.estimate import Estimate
from posterion.core.registry import register
from posterion.core.result import Result
from posterion.core.settings import check_draws
from posterion.core.status import Status
from posterion.diagnostics import Health
from posterion.targets.parameter import Parameter
from posterion.training.posterior import Posterior


@register("mixed_posterior")
@dataclass(frozen=True, eq=False, repr=False)
class MixedPosterior(Result):
    """Posteriors over parameters of the same names under competing hypotheses.

    Draws carry one column more, the hypothesis as the index into ``labels``. The weights are the
    evidences times the prior odds; build with :meth:`of`.

    Attributes:
        name: of the whole.
        hypothesis: name of the extra column, such as ``"ordering"``.
        labels: one for each hypothesis.
        posteriors: one for each.
        log_weights: normalised log-probabilities of the hypotheses.
        log_evidence: of the mixture.
        provenance: how it came about.
    """

    name: str
    hypothesis: str
    labels: tuple[str, ...]
    posteriors: tuple[Posterior, ...]
    log_weights: np.ndarray
    log_evidence: Estimate
    provenance: dict[str, Any]

    @classmethod
    def of(
        cls,
        posteriors: Mapping[str, Posterior],
        *,
        name: str,
        hypothesis: str,
        log_offsets: Mapping[str, float] | None = None,
        prior_odds: Mapping[str, float] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> "MixedPosterior":
        """Mixes posteriors by evidence.

        Args:
            posteriors: by label.
            name: of the whole.
            hypothesis: name of the extra column.
            log_offsets: added to each log-evidence, such as ``-offset / 2`` of a chi-squared whose
                own minimum was taken out.
            prior_odds: relative prior probabilities, equal by default.
            provenance: kept with it.
        """
        names = {tuple(p.name for p in posterior.parameters) for posterior in posteriors.values()}
        if len(names) != 1:
            raise SettingError(f"mixed posteriors need the same parameters, got {sorted(names)}")
        labels = tuple(posteriors)
        z = np.array(
            [
                posteriors[k].log_evidence.value
                + (log_offsets or {}).get(k, 0.0)
                + np.log((prior_odds or {}).get(k, 1.0))
                for k in labels
            ]
        )
        total = float(np.logaddexp.reduce(z))
        share = np.exp(z - total)
        errors = np.array([posteriors[k].log_evidence.error for k in labels])
        error = float(np.sqrt(np.sum((share * errors) ** 2)))
        return cls(
            name,
            hypothesis,
            labels,
            tuple(posteriors.values()),
            z - total,
            Estimate(total, error),
            dict(provenance or {}),
        )

    @property
    def kind(self) -> str:
        """``"mixed_posterior"``."""
        return "mixed_posterior"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of each posterior, and the hypothesis."""
        last = len(self.labels) - 1
        index = Parameter(self.hypothesis, lower=-0.5, upper=last + 0.5)
        return (*self.posteriors[0].parameters, index)

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each hypothesis."""
        values = np.exp(self.log_weights)
        return {label: float(p) for label, p in zip(self.labels, values, strict=True)}

    @property
    def health(self) -> Health:
        """That of the heaviest posterior which is not converged, else of the heaviest."""
        order = np.argsort(-np.asarray(self.log_weights))
        ranked = [self.posteriors[i].health for i in order]
        return next((health for health in ranked if not health.status.ok), ranked[0])

    @property
    def status(self) -> Status:
        """Converged only if every posterior is."""
        return self.health.status

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Training of each, keys ``label.step`` and so on."""
        pairs = zip(self.labels, self.posteriors, strict=True)
        return {f"{label}.{k}": v for label, p in pairs for k, v in p.history.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the first posterior."""
        return self.posteriors[0].settings

    @property
    def versions(self) -> dict[str, str]:
        """Package versions."""
        return self.posteriors[0].versions

    @property
    def citations(self) -> tuple[str, ...]:
        """Works to cite."""
        return tuple(dict.fromkeys(key for p in self.posteriors for key in p.citations))

    def __getitem__(self, label: str) -> Posterior:
        """The posterior under one hypothesis."""
        if label not in self.labels:
            raise SettingError(f"no hypothesis {label!r}; there are {', '.join(self.labels)}")
        return self.posteriors[self.labels.index(label)]

    def sample(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        """``n`` independent draws, the hypothesis drawn by its probability."""
        check_draws(n)
        rng = np.random.default_rng([seed, 31])
        weights = np.exp(self.log_weights)
        which = rng.choice(len(self.labels), size=n, p=weights / weights.sum())
        out: dict[str, np.ndarray] = {}
        for i, posterior in enumerate(self.posteriors):
            rows = np.flatnonzero(which == i)
            if not len(rows):
                continue
            for name, values in posterior.sample(len(rows), seed=seed + i).items():
                column = out.setdefault(name, np.empty((n, *values.shape[1:])))
                column[rows] = values
        return {**out, self.hypothesis: which.astype(np.float64)}

    def log_prob(self, theta: Mapping[str, Any]) -> np.ndarray:
        """Log of the joint probability of parameters and hypothesis, ``(n,)``."""
        if self.hypothesis not in theta:
            raise ThetaError(f"theta lacks {self.hypothesis!r}, the index of the hypothesis")
        which = np.asarray(theta[self.hypothesis])
        rest = {k: np.asarray(v) for k, v in theta.items() if k != self.hypothesis}
        out = np.full(len(which), -np.inf)
        for i, posterior in enumerate(self.posteriors):
            rows = np.flatnonzero(which == i)
            if len(rows):
                part = posterior.log_prob({k: v[rows] for k, v in rest.items()})
                out[rows] = part + self.log_weights[i]
        return out

    def save(self, path: str | Path) -> None:
        """Writes one ``.posterion`` file with all of them, without densities."""
        bare = replace(self, posteriors=tuple(replace(p, target=None) for p in self.posteriors))
        report = "\n\n".join(str(p.health) for p in self.posteriors)
        card = bundles.result_card(
            self,
            health={"sentence": self.status.sentence, "report": report},
            provenance={**self.provenance, "probabilities": self.probabilities},
        )
        bundles.save_object(Path(path), bare, card)
