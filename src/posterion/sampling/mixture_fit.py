"""A mixture of Student-t laws fitted to weighted points: the proposal that learns from particles.

Expectation maximisation of normals (Dempster, Laird and Rubin, J. R. Stat. Soc. B 39 (1977) 1),
their number chosen by points left out, their tails then made heavier. NumPy, float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

Floats = NDArray[np.float64]

_ROUNDS = 20
_TRIALS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class TMixture:
    """A mixture of multivariate Student-t laws.

    Attributes:
        weights: (k,), summing to one.
        locations: (k, dim).
        lowers: (k, dim, dim), Cholesky factors of the scale matrices.
        freedom: degrees of freedom, infinite for normals.
    """

    weights: Floats
    locations: Floats
    lowers: Floats
    freedom: float

    def distances(self, x: Floats) -> Floats:
        """Squared Mahalanobis distances of points (n, dim) to each component, (n, k)."""
        inverse = np.linalg.inv(self.lowers)
        z = (
            x @ inverse.transpose(0, 2, 1)
            - np.einsum("kij,kj->ki", inverse, self.locations)[:, None]
        )
        return np.square(z).sum(axis=2).T

    def component_log_probs(self, x: Floats) -> Floats:
        """Log of weight times density of each component at (n, dim): (n, k)."""
        dim = x.shape[1]
        square = self.distances(x)
        log_det = np.log(np.diagonal(self.lowers, axis1=1, axis2=2)).sum(axis=1)
        if np.isinf(self.freedom):
            body = -0.5 * square - 0.5 * dim * np.log(2 * np.pi)
        else:
            nu = self.freedom
            constant = gammaln((nu + dim) / 2) - gammaln(nu / 2) - 0.5 * dim * np.log(nu * np.pi)
            body = constant - 0.5 * (nu + dim) * np.log1p(square / nu)
        return np.log(self.weights) - log_det + body

    def log_prob(self, x: Floats) -> Floats:
        """Log-density at (n, dim): (n,)."""
        return logsumexp(self.component_log_probs(x), axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Draws (n, dim)."""
        label = rng.choice(len(self.weights), size=n, p=self.weights)
        return self.locations[label] + self.steps(label, rng)

    def steps(self, label: NDArray[np.intp], rng: np.random.Generator) -> Floats:
        """Centred draws of the components (n,): (n, dim)."""
        n, dim = len(label), self.locations.shape[1]
        z = rng.normal(size=(n, dim))
        if np.isfinite(self.freedom):
            z *= np.sqrt(self.freedom / rng.chisquare(self.freedom, size=(n, 1)))
        return np.einsum("nij,nj->ni", self.lowers[label], z)


def cross_fit(
    x: Floats,
    weights: Floats,
    second: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    freedom: float = 8.0,
) -> tuple[TMixture, TMixture]:
    """Two mixtures, each fitted to the half of the points in which it will not be used.

    A mixture fitted to the points that it is to move sits on them, and holds them there. The
    number of components is the one with which each half predicts the other best.

    Args:
        x: (n, dim).
        weights: (n,), not negative.
        second: (n,), which points are of the second half; alike points belong into one half.
        rng: picks the first centres.
        freedom: of the tails; the widths are those of the normals.

    Returns:
        The mixture for the points of the first half, and that for those of the second.
    """
    dim = x.shape[1]
    share = weights / weights.sum()
    if not 0 < share[second].sum() < 1:
        second = rng.permutation(len(x)) < len(x) // 2
    centre = share @ x
    scale = np.sqrt(share @ np.square(x - centre))
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - centre) / scale
    halves = [(z[half], share[half] / share[half].sum()) for half in (second, ~second)]
    effective = min(1 / np.square(part).sum() for _, part in halves)
    best, best_score = [], -np.inf
    for count in _TRIALS:
        if count > 1 and effective < 10 * count * (1 + dim / 2):
            break
        fitted = [_maximise(*half, count, rng) for half in halves]
        score = sum(
            float(part @ mixture.log_prob(points))
            for mixture, (points, part) in zip(fitted, halves[::-1], strict=True)
        )
        if score <= best_score + 0.01:
            break
        best, best_score = fitted, score
    first, last = (
        TMixture(m.weights, centre + scale * m.locations, scale[:, None] * m.lowers, freedom)
        for m in best
    )
    return first, last


def _maximise(z: Floats, share: Floats, count: int, rng: np.random.Generator) -> TMixture:
    share = share / share.sum()
    shares = np.ones((len(z), 1))
    if count > 1:
        shares = np.eye(count)[_nearest(z, _spread_centres(z, share, count, rng))]
    mixture = _moments(z, share, shares)
    previous = -np.inf
    for _ in range(_ROUNDS if count > 1 else 0):
        each = mixture.component_log_probs(z)
        total = logsumexp(each, axis=1)
        mixture = _moments(z, share, np.exp(each - total[:, None]))
        level = float(share @ total)
        if level - previous < 1e-4:
            break
        previous = level
    return mixture


def _moments(z: Floats, share: Floats, shares: Floats) -> TMixture:
    dim = z.shape[1]
    # Without the cut products of tiny numbers become denormal, and slow by a factor of thirty.
    mass = np.where(shares > 1e-9, share[:, None] * shares, 0.0)
    totals = mass.sum(axis=0)
    keep = totals > 1e-6
    mass, totals = mass[:, keep], totals[keep]
    sizes = np.square(totals) / np.square(mass).sum(axis=0)
    means = (mass.T @ z) / totals[:, None]
    centred = z - means[:, None]
    weighted = np.ascontiguousarray(centred * (mass / totals).T[:, :, None])
    covariance = weighted.transpose(0, 2, 1) @ centred
    shrink = (dim / (dim + sizes))[:, None, None]
    unit = np.eye(dim)
    floor = covariance * unit + 1e-3 * unit
    covariance = (1 - shrink) * covariance + shrink * floor + 1e-9 * unit
    return TMixture(totals / totals.sum(), means, np.linalg.cholesky(covariance), np.inf)


def _spread_centres(z: Floats, share: Floats, count: int, rng: np.random.Generator) -> Floats:
    """k-means++ (Arthur and Vassilvitskii, 2007), then a few rounds of Lloyd's."""
    centres = z[[rng.choice(len(z), p=share)]]
    for _ in range(count - 1):
        apart = np.min(((z[:, None] - centres) ** 2).sum(axis=2), axis=1) * share
        if not apart.sum() > 0:
            break
        centres = np.concatenate([centres, z[[rng.choice(len(z), p=apart / apart.sum())]]])
    for _ in range(5):
        mass = np.eye(len(centres))[_nearest(z, centres)] * share[:, None]
        totals = mass.sum(axis=0)
        centres = np.where(
            totals[:, None] > 0, (mass.T @ z) / np.maximum(totals, 1e-300)[:, None], centres
        )
    return centres


def _nearest(z: Floats, centres: Floats) -> NDArray[np.intp]:
    return np.argmin(((z[:, None] - centres) ** 2).sum(axis=2), axis=1)
