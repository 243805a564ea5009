"""Sequential Monte Carlo without gradients, for densities of which every call counts.

Anneals from the reference measure as `posterion.sampling.smc` does. All points that the chains of
one temperature visit carry on to the next (waste-free: Dau and Chopin, J. R. Stat. Soc. B 84 (2022)
114, arXiv:2011.02328). Three moves share the work, as each proves itself: independent proposals
from a mixture fitted to the particles, differences of particles (ter Braak, Stat. Comput. 16 (2006)
239), random walks with a component's covariance. The laws of the proposals are fixed while a
temperature lasts but for their scale, so that each move leaves the tempered density alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from posterion.core.errors import DensityError, SettingError
from posterion.sampling.importance import next_beta, systematic
from posterion.sampling.mixture_fit import TMixture, cross_fit
from posterion.sampling.smc import Scouted
from posterion.targets.frame import Frame
from posterion.targets.target import Target, x_and_log_det

Floats = NDArray[np.float64]

_FIRST = 4
_SHARE = 0.5
_STAGES = 1000
_SWEEPS = (2, 12)
_MOVED = 0.9
_SETTLED = 2.0
_FLOOR = 0.1
_FITTED = 4000
_INDEPENDENT, _DIFFERENCE, _WALK = range(3)


@dataclass
class Pool:
    """Every point at which the density was called, in order.

    Attributes:
        u_parts, value_parts: batches; use `u` (m, dim) and `value` (m,), as in `Scouted`.
    """

    u_parts: list[Floats] = field(default_factory=list)
    value_parts: list[Floats] = field(default_factory=list)

    @property
    def u(self) -> Floats:
        """Coordinates (m, dim) in the frame."""
        return np.concatenate(self.u_parts)

    @property
    def value(self) -> Floats:
        """Log-densities per unit of ``u`` (m,); -inf where they were not finite."""
        return np.concatenate(self.value_parts)


def scout_plain(
    target: Target,
    frame: Frame,
    *,
    particles: int,
    seed: int,
    max_calls: int | None = None,
    on_stage: Callable[[float, int], None] | None = None,
) -> Scouted:
    """Particles of any target from its reference measure, by density calls alone.

    Args:
        target: the target; workers, if it has any, share each batch of calls.
        frame: coordinates; its reference is subtracted from the log-density.
        particles: number of particles.
        seed: integer seed.
        max_calls: stop, incomplete, before more density calls than this.
        on_stage: called with the inverse temperature and the calls so far.

    Raises:
        DensityError: the density is finite at none of the first points.
    """
    return scout_with_pool(
        target, frame, particles=particles, seed=seed, max_calls=max_calls, on_stage=on_stage
    )[0]


def scout_with_pool(
    target: Target,
    frame: Frame,
    *,
    particles: int,
    seed: int,
    max_calls: int | None = None,
    on_stage: Callable[[float, int], None] | None = None,
) -> tuple[Scouted, Pool]:
    """`scout_plain`, and every point that was evaluated on the way."""
    if particles < 8:
        raise SettingError(f"particles: at least 8, got {particles}")
    run = _Run(target, frame, seed, max_calls)
    run.start(_FIRST * particles if max_calls is None else min(_FIRST * particles, max_calls))
    log_z, variance, stages = 0.0, 0.0, 0
    while run.beta < 1.0 and stages < _STAGES and run.affords(particles * _SWEEPS[0]):
        gain, spread = run.stage(particles)
        log_z += gain
        variance += spread
        stages += 1
        if on_stage is not None:
            on_stage(run.beta, run.calls)
    found = Scouted(
        u=run.u[-particles:],
        value=run.value[-particles:],
        log_evidence=log_z,
        error=2 * float(np.sqrt(variance)),
        calls=run.calls,
        stages=stages,
        not_finite=run.not_finite,
        excluded=run.excluded,
        acceptance=run.acceptance,
        ancestors=len(np.unique(run.ancestor[-particles:])),
        complete=run.beta >= 1.0,
    )
    return found, run.pool


class _Run:
    """The population: every state of the last temperature, in sweeps of ``width`` points each."""

    def __init__(self, target: Target, frame: Frame, seed: int, max_calls: int | None):
        self.target, self.frame, self.max_calls = target, frame, max_calls
        self.rng = np.random.default_rng([seed, 202])
        self.circular = frame.circular
        self.pool = Pool()
        self.calls = self.not_finite = self.excluded = 0
        self.beta, self.acceptance = 0.0, 0.0
        self.scale = np.array([1.0, 0.7, 0.7])
        self.worth = np.ones(3)

    def affords(self, calls: int) -> bool:
        return self.max_calls is None or self.calls + calls <= self.max_calls

    def start(self, count: int) -> None:
        shape = (count, self.frame.dim)
        u = np.where(
            self.circular, self.rng.uniform(-np.pi, np.pi, shape), self.rng.normal(size=shape)
        )
        self.u, self.value = u, self.evaluate(u)
        self.ancestor = np.arange(count)
        self.family = np.arange(count)
        self.width = count
        if not np.isfinite(self.value).any():
            raise DensityError(
                f"the log-density of {self.target.name!r} is finite at none of {count} points "
                f"drawn over its support ({self.not_finite} NaN or +inf, {self.excluded} -inf); "
                f"check the bounds, the scales and the density's own domain"
            )

    def evaluate(self, u: Floats) -> Floats:
        """Log-densities (n,) per unit of ``u``; what is not finite becomes -inf and is counted."""
        x, log_det = x_and_log_det(self.frame, u)
        value = self.target.evaluate(x) + log_det - float(self.frame.reference)
        self.calls += len(u)
        broken = np.isnan(value) | (value == np.inf)
        self.not_finite += int(broken.sum())
        self.excluded += int((value == -np.inf).sum())
        value = np.where(broken, -np.inf, value)
        self.pool.u_parts.append(u.copy())
        self.pool.value_parts.append(value)
        return value

    def reference(self, u: Floats) -> Floats:
        line = -0.5 * u * u - 0.5 * np.log(2 * np.pi)
        return np.where(self.circular, -np.log(2 * np.pi), line).sum(axis=-1)

    def tempered(self, u: Floats, value: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            total = (1 - self.beta) * self.reference(u) + self.beta * value
        return np.where(value == -np.inf, -np.inf, total)

    def learn(self, kind: NDArray[np.intp], chance: Floats, lengths: Floats) -> None:
        """The worth of each kind of move, and the scale that makes a quarter of them succeed."""
        for k in range(3):
            mine = kind == k
            if mine.any():
                worth = (chance[mine] * lengths[mine]).mean()
                self.worth[k] = 0.5 * self.worth[k] + 0.5 * worth
                self.scale[k] *= np.exp(chance[mine].mean() - 0.25)
        self.scale = np.clip(self.scale, 0.02, 3.0)
        self.acceptance = float(chance.mean())

    def stage(self, particles: int) -> tuple[float, float]:
        """One temperature; the gain in log-evidence and its variance."""
        log_ratio = self.value - self.reference(self.u)
        beta = next_beta(log_ratio, self.beta, _SHARE)
        log_w = np.where(log_ratio > -np.inf, (beta - self.beta) * log_ratio, -np.inf)
        gain = float(logsumexp(log_w) - np.log(len(log_w)))
        weight = np.exp(log_w - gain)
        # The states of one chain are alike, the chains are not: (sweeps, width) to (width,).
        by_chain = weight.reshape(-1, self.width).mean(axis=0)
        spread = float(by_chain.var(ddof=1) / self.width)
        self.beta = beta
        moves = _Moves(self, weight)
        chosen = systematic(weight, particles, self.rng)
        second = moves.second[chosen]
        self.u, self.value = moves.sweeps(self, self.u[chosen], self.value[chosen], second)
        sweeps = len(self.u) // particles
        self.ancestor = np.tile(self.ancestor[chosen], sweeps)
        self.family = np.tile(chosen, sweeps)
        self.width = particles
        return gain, spread


class _Moves:
    """The proposals of one temperature, from the weighted population."""

    def __init__(self, run: _Run, weight: Floats):
        self.circular = run.circular
        self.cut = _cuts(run.u, weight, self.circular)
        z = self.to_line(run.u)
        live = weight > 0
        if live.sum() > _FITTED:
            live &= run.rng.uniform(size=len(z)) < _FITTED / live.sum()
        # The descendants of one point of the last temperature are alike: they go into one half.
        self.second = (run.rng.uniform(size=len(z)) < 0.5)[run.family % len(z)]
        self.mixtures = cross_fit(z[live], weight[live], self.second[live], run.rng)
        self.archive = z[systematic(weight, max(run.width, 500), run.rng)]

    def to_line(self, u: Floats) -> Floats:
        """Circles cut where they are least probable, so that they are intervals here."""
        return np.where(self.circular, (u - self.cut) % (2 * np.pi) - np.pi, u)

    def to_frame(self, z: Floats) -> Floats:
        u = z + np.pi + self.cut
        return np.where(self.circular, (u + np.pi) % (2 * np.pi) - np.pi, z)

    def sweeps(
        self, run: _Run, u: Floats, value: Floats, second: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Moves until the particles have moved enough: all states (sweeps x n, ...) on the way."""
        z = self.to_line(u)
        kept_u, kept_value = [u], [value]
        travelled = np.zeros(len(u))
        last = run.beta >= 1.0
        wanted = _SETTLED if last else 1.0
        for sweep in range(_SWEEPS[1] * (2 if last else 1)):
            if not run.affords(len(z)) and sweep > 0:
                break
            z, value, path = self.sweep(run, z, value, second)
            travelled += path
            kept_u.append(self.to_frame(z))
            kept_value.append(value)
            if sweep + 1 >= _SWEEPS[0] and np.minimum(travelled, wanted).mean() > _MOVED * wanted:
                break
        return np.concatenate(kept_u), np.concatenate(kept_value)

    def sweep(
        self, run: _Run, z: Floats, value: Floats, second: NDArray[np.bool_]
    ) -> tuple[Floats, Floats, Floats]:
        """One proposal for every particle; how far each moved, 1 being a fresh draw."""
        rng, n = run.rng, len(z)
        odds = _FLOOR + (1 - 3 * _FLOOR) * run.worth / run.worth.sum()
        kind = rng.choice(3, size=n, p=odds)
        new, correction, lengths = np.empty_like(z), np.empty(n), np.empty(n)
        for mixture, half in zip(self.mixtures, (~second, second), strict=True):
            new[half] = self.propose(mixture, kind[half], z[half], run)
            correction[half] = mixture.log_prob(z[half]) - mixture.log_prob(new[half])
            lengths[half] = _lengths(mixture, z[half], new[half])
        wrapped = np.where(self.circular, (new + np.pi) % (2 * np.pi) - np.pi, new)
        # An independent proposal beyond the cut has no way back: it is refused.
        inside = (~self.circular | (np.abs(new) <= np.pi)).all(axis=1)
        allowed = (kind != _INDEPENDENT) | inside
        new_value = np.full(n, -np.inf)
        new_value[allowed] = run.evaluate(self.to_frame(wrapped[allowed]))
        log_ratio = run.tempered(self.to_frame(wrapped), new_value)
        log_ratio = log_ratio - run.tempered(self.to_frame(z), value)
        log_ratio = np.where(kind == _INDEPENDENT, log_ratio + correction, log_ratio)
        chance = np.exp(np.minimum(log_ratio, 0.0))
        accepted = rng.uniform(size=n) < chance
        run.learn(kind, chance, lengths)
        z = np.where(accepted[:, None], wrapped, z)
        return z, np.where(accepted, new_value, value), np.where(accepted, lengths, 0.0)

    def propose(self, mixture: TMixture, kind: NDArray[np.intp], z: Floats, run: _Run) -> Floats:
        """New points (n, dim), of each particle's kind of move."""
        rng, (n, dim) = run.rng, z.shape
        spread = 2.38 / np.sqrt(dim) * np.exp(rng.normal(scale=0.5, size=(n, 1)))
        first, second = rng.integers(len(self.archive), size=(2, n))
        jump = self.archive[first] - self.archive[second]
        jump = np.where(self.circular, (jump + np.pi) % (2 * np.pi) - np.pi, jump)
        hop = rng.uniform(size=(n, 1)) < 0.1
        jump = np.where(hop, 1.0, run.scale[_DIFFERENCE] * spread / np.sqrt(2)) * jump
        difference = z + jump * (1 + 1e-3 * rng.normal(size=z.shape))
        label = rng.choice(len(mixture.weights), size=n, p=mixture.weights)
        walk = z + run.scale[_WALK] * spread * mixture.steps(label, rng)
        new = np.where((kind == _DIFFERENCE)[:, None], difference, mixture.sample(n, rng))
        return np.where((kind == _WALK)[:, None], walk, new)


def _lengths(mixture: TMixture, old: Floats, new: Floats) -> Floats:
    """Squared jumps (n,) in widths of the component at hand; 1 and more is a fresh draw."""
    label = np.argmax(mixture.component_log_probs(old), axis=1)
    gap = np.linalg.inv(mixture.lowers)[label] @ (new - old)[:, :, None]
    return np.minimum(np.square(gap[:, :, 0]).sum(axis=1) / (2 * old.shape[1]), 1.0)


def _cuts(u: Floats, weight: Floats, circular: NDArray[np.bool_], bins: int = 36) -> Floats:
    """The least probable angle of each circle, (dim,); zero elsewhere."""
    cut = np.zeros(u.shape[1])
    for i in np.flatnonzero(circular):
        place = np.floor((u[:, i] + np.pi) / (2 * np.pi) * bins).astype(int) % bins
        counts = np.bincount(place, weights=weight, minlength=bins)
        window = counts + np.roll(counts, 1) + np.roll(counts, -1)
        cut[i] = -np.pi + (int(np.argmin(window)) + 0.5) * 2 * np.pi / bins
    return cut
