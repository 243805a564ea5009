"""What a run of Markov chains gives: draws, their statistics, and whether to believe them."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.interchange import arviz
from posterion.diagnostics import CrossChains, ess_bulk, ess_tail, split_rhat
from posterion.targets.parameter import Parameter
from posterion.targets.target import unflatten_theta

Floats = NDArray[np.float64]

R_HAT = 1.01
"""Above, chains disagree (Vehtari et al. 2021, arXiv:1903.08008)."""
ESS_PER_CHAIN = 100
"""Effective draws of each chain below which R-hat and the errors are not to be trusted."""
DIVERGENT = 1e-3
"""Share of divergent transitions above which the draws are biased."""

_SHOWN = 20


@dataclass(frozen=True, eq=False, repr=False)
class Chain:
    """Draws of several Markov chains.

    Attributes:
        name: of the target.
        parameters: of the target.
        x: coordinates (chains, draws, dim), float64.
        log_density: (chains, draws), with priors, in the stated units.
        statistics: (chains, draws) each: diverging, n_steps, energy, acceptance_rate.
        step_size: (chains,), after the warmup.
        sampler: such as ``"NUTS"``.
        warmup: transitions of each chain before the draws.
        calls: density calls with gradient for the draws, one a leapfrog step.
        warmup_calls: likewise for the warmup.
        scouting_calls: density calls that found the starts and the scales.
        seconds: wall time, with compiling.
        complete: whether the budget sufficed.
        notes: where the chains started, how far modes were searched for.
    """

    name: str
    parameters: tuple[Parameter, ...]
    x: Floats
    log_density: Floats
    statistics: dict[str, np.ndarray]
    step_size: Floats
    sampler: str
    warmup: int
    calls: int
    warmup_calls: int
    scouting_calls: int
    seconds: float
    complete: bool
    notes: tuple[str, ...] = ()
    citations: tuple[str, ...] = field(default=("hoffman2014", "cabezas2024", "vehtari2021"))

    kind = "chain"

    @property
    def chains(self) -> int:
        """Number of chains."""
        return self.x.shape[0]

    @property
    def length(self) -> int:
        """Draws of each chain."""
        return self.x.shape[1]

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """Draws by name: arrays (chains, draws, *shape)."""
        return unflatten_theta(self.parameters, self.x)

    def flat(self) -> Floats:
        """All draws as coordinates (chains * draws, dim)."""
        return self.x.reshape(-1, self.x.shape[2])

    @property
    def columns(self) -> list[str]:
        """Names of the coordinates."""
        return [column for parameter in self.parameters for column in parameter.columns]

    @property
    def divergences(self) -> int:
        """Divergent transitions among the draws."""
        return int(self.statistics["diverging"].sum())

    @cached_property
    def _unwound(self) -> Floats:
        """Coordinates with each circle cut opposite its mean."""
        return unwind(self.x, self.parameters)

    @cached_property
    def r_hat(self) -> Floats:
        """Rank-normalised split R-hat of each coordinate (dim,)."""
        return self._measured(split_rhat)

    @cached_property
    def ess_bulk(self) -> Floats:
        """Bulk effective sample size of each coordinate (dim,)."""
        return self._measured(ess_bulk)

    @cached_property
    def ess_tail(self) -> Floats:
        """Tail effective sample size of each coordinate (dim,)."""
        return self._measured(ess_tail)

    def _measured(self, measure: Any) -> Floats:
        if self.length < 4:
            return np.full(self.x.shape[2], np.nan)
        return np.asarray(measure(self._unwound), np.float64)

    @property
    def effective(self) -> float:
        """The smallest bulk effective sample size of the coordinates."""
        return float(np.min(self.ess_bulk)) if self.length >= 4 else math.nan

    def summary(self) -> CrossChains:
        """The figures that a health report shows."""
        return CrossChains(
            method=self.sampler,
            chains=self.chains,
            draws=self.chains * self.length,
            r_hat=float(np.max(self.r_hat)),
            ess_bulk=self.effective,
            ess_tail=float(np.min(self.ess_tail)),
            divergences=self.divergences,
        )

    @property
    def ok(self) -> bool:
        """Whether the draws may be used as they are."""
        return self._verdict[0]

    @property
    def sentence(self) -> str:
        """Whether to believe the draws, and what to do if not."""
        return self._verdict[1]

    @property
    def _verdict(self) -> tuple[bool, str]:
        cut = "" if self.complete else "The budget ran out. "
        wanted = ESS_PER_CHAIN * self.chains
        r_hat = float(np.max(self.r_hat))
        if self.length < 4:
            return False, (
                f"{cut}Too few draws to judge, and too few to use: raise the budget or `draws`."
            )
        if not math.isfinite(r_hat):
            return False, f"{cut}A chain never moved: look at the density near the starts."
        if self.chains < 2:
            return False, f"{cut}One chain cannot be compared with another: run at least 4."
        if r_hat > R_HAT and r_hat > 1.1:
            return False, (
                f"{cut}The chains disagree: do not use the draws. If they sit in separate modes no "
                f"longer run helps: `learn` weighs modes; otherwise raise `warmup` and `draws`."
            )
        if r_hat > R_HAT or not self.effective >= wanted:
            return False, (
                f"{cut}The chains have not mixed enough (wanted: R-hat <= {R_HAT}, {wanted} "
                f"effective draws): raise `draws`; until then the errors are rough."
            )
        if self.divergences > DIVERGENT * self.chains * self.length:
            return False, (
                f"{cut}Divergent transitions: somewhere the density bends too sharply for the "
                f"step, and the draws miss it. Reparametrise, or use `learn`."
            )
        return True, (
            f"{cut}The chains agree and have mixed: the draws may be used, with as many "
            f"effective draws as stated. Modes that no chain has met stay unseen."
        )

    def to_arviz(self) -> Any:
        """ArviZ InferenceData with the groups ``posterior`` and ``sample_stats``."""
        dims = {p.name: [f"{p.name}_dim_{k}" for k in range(len(p.shape))] for p in self.parameters}
        data = arviz().from_dict(
            posterior=self.draws,
            sample_stats={"lp": self.log_density, **self.statistics},
            dims=dims,
            attrs={"inference_library": "posterion", "sampler": self.sampler},
        )
        for parameter in self.parameters:
            data["posterior"][parameter.name].attrs["units"] = parameter.unit
        return data

    def report(self) -> str:
        """Mean, spread and convergence of each coordinate, cost, and the sentence."""
        lines = [
            f"{self.sampler} of {self.name}: {self.chains} chains x {self.length} draws after "
            f"{self.warmup} of warmup"
        ]
        rows = [("", "mean", "sd", "ESS bulk", "ESS tail", "R-hat")]
        if self.length >= 4:
            flat = self._unwound.reshape(-1, self.x.shape[2])
            for i, column in enumerate(self.columns[:_SHOWN]):
                rows.append(
                    (
                        column,
                        f"{flat[:, i].mean():.6g}",
                        f"{flat[:, i].std():.3g}",
                        f"{self.ess_bulk[i]:.0f}",
                        f"{self.ess_tail[i]:.0f}",
                        f"{self.r_hat[i]:.3f}",
                    )
                )
            widths = [max(len(row[k]) for row in rows) for k in range(6)]
            for row in rows:
                cells = [row[0].ljust(widths[0])]
                cells += [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
                lines.append("  " + "  ".join(cells).rstrip())
            hidden = len(self.columns) - _SHOWN
            if hidden > 0:
                lines.append(
                    f"  and {hidden} coordinates more; of all: R-hat <= {np.max(self.r_hat):.3f}, "
                    f"ESS >= {self.effective:.0f}"
                )
        total = self.calls + self.warmup_calls
        lines.append(
            f"  divergences {self.divergences}; density calls {self.calls:,}, warmup "
            f"{self.warmup_calls:,}, scouting {self.scouting_calls:,}; effective draws a call "
            f"{self.effective / max(total, 1):.3g}; {self.seconds:.1f} s"
        )
        lines += [f"  {note}" for note in self.notes]
        return "\n".join([*lines, f"  {self.sentence}"])

    def __repr__(self) -> str:
        return self.report()


def unwind(x: Floats, parameters: tuple[Parameter, ...]) -> Floats:
    """Coordinates (..., dim) with each periodic one cut opposite its circular mean."""
    x, start = np.array(x), 0
    for parameter in parameters:
        stop = start + parameter.size
        if parameter.periodic and parameter.lower is not None and parameter.upper is not None:
            turn = (parameter.upper - parameter.lower) / (2 * np.pi)
            angle = x[..., start:stop] / turn
            axes = tuple(range(angle.ndim - 1))
            mean = np.angle(np.exp(1j * angle).mean(axis=axes))
            turned = (angle - mean + np.pi) % (2 * np.pi) - np.pi
            x[..., start:stop] = turn * (mean + turned)
        start = stop
    return x
