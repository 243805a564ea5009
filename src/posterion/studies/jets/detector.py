"""A parametrised detector: what it measures of each stable particle.

Charged particles are measured by a tracker, or, if it loses them, as neutral hadrons are; photons
and electrons beyond it by an electromagnetic calorimeter, other hadrons by a hadronic one. The
numbers are of the size of those of general-purpose detectors at the LHC; no one of them is meant.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calorimeter", "Detector", "respond"]

Floats = NDArray[np.float64]

_PION = 0.13957


@dataclass(frozen=True)
class Calorimeter:
    """Resolution ``a / sqrt(E) + b / E + c``, added in squares, E in GeV.

    Args:
        stochastic: a.
        noise: b.
        constant: c.
        angle: standard deviation in pseudorapidity and in azimuth.
        least: energy in GeV below which nothing is seen.
        efficiency: share of particles that are seen at all.
    """

    stochastic: float
    noise: float
    constant: float
    angle: float
    least: float
    efficiency: float

    def resolution(self, energy: Floats) -> Floats:
        """Relative standard deviation of the measured energy."""
        squares = self.stochastic**2 / energy + (self.noise / energy) ** 2 + self.constant**2
        return np.sqrt(squares)


@dataclass(frozen=True)
class Detector:
    """The numbers of the detector.

    Args:
        electromagnetic: of photons and electrons.
        hadronic: of other neutral particles, and of charged ones without a track.
        track_constant: relative resolution of the transverse momentum of slow tracks.
        track_slope: its growth with pT, per GeV; the two are added in squares.
        track_angle: standard deviation of a track's angles.
        track_least: pT in GeV below which a track curls up, and its particle is lost.
        track_efficiency: at the centre and at the edge of the tracker.
        tracker: largest pseudorapidity of tracks.
        calorimeter: largest pseudorapidity of all.
    """

    electromagnetic: Calorimeter = Calorimeter(0.10, 0.15, 0.01, 0.004, 0.5, 0.99)
    hadronic: Calorimeter = Calorimeter(0.80, 0.60, 0.05, 0.025, 1.0, 0.98)
    track_constant: float = 0.01
    track_slope: float = 2e-4
    track_angle: float = 0.001
    track_least: float = 0.4
    track_efficiency: tuple[float, float] = (0.97, 0.88)
    tracker: float = 2.5
    calorimeter: float = 5.0

    def numbers(self) -> dict[str, object]:
        """All of them, by name."""
        return asdict(self)


def respond(
    particles: Floats,
    charged: NDArray[np.bool_],
    light: NDArray[np.bool_],
    rng: np.random.Generator,
    detector: Detector | None = None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """What is measured of each particle, independently of the others.

    Args:
        particles: ``(n, 4)``: pT in GeV, pseudorapidity, azimuth, mass in GeV.
        charged: which leave tracks.
        light: which are photons or electrons.
        rng: of the fluctuations.
        detector: its numbers; ordinary ones by default.

    Returns:
        Momenta ``(n, 4)``, (px, py, pz, E) in GeV, and which of them are seen.
    """
    detector = detector or Detector()
    pt, eta, phi, m = particles.T
    count = len(particles)
    far = np.abs(eta)
    middle, edge = detector.track_efficiency
    efficiency = middle + (edge - middle) * (far / detector.tracker) ** 2
    tracked = charged & (far < detector.tracker) & (rng.uniform(size=count) < efficiency)
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + m**2)
    normal = rng.standard_normal((count, 3))
    sd, angle = np.empty(count), np.empty(count)
    seen = rng.uniform(size=count)
    least = np.empty(count)
    for calorimeter, chosen in ((detector.electromagnetic, light), (detector.hadronic, ~light)):
        sd[chosen] = calorimeter.resolution(energy[chosen])
        angle[chosen], least[chosen] = calorimeter.angle, calorimeter.least
        seen[chosen] = np.where(seen[chosen] < calorimeter.efficiency, 1.0, 0.0)
    sd = np.where(tracked, np.hypot(detector.track_constant, detector.track_slope * pt), sd)
    angle = np.where(tracked, detector.track_angle, angle)
    scale = np.maximum(1 + sd * normal[:, 0], 0.0)
    eta, phi = eta + angle * normal[:, 1], phi + angle * normal[:, 2]
    # A calorimeter measures an energy and takes the mass as zero, a tracker a momentum.
    size = np.where(tracked, pt * scale, energy * scale / np.cosh(eta))
    mass = np.where(tracked, _PION, 0.0)
    good = (far < detector.calorimeter) & (size > 0)
    # A charged particle bends away below the least pT, with a track or without.
    good &= ~charged | (pt > detector.track_least)
    good &= tracked | ((seen > 0) & (energy * scale > least))
    e = np.sqrt((size * np.cosh(eta)) ** 2 + mass**2)
    found = np.stack([size * np.cos(phi), size * np.sin(phi), size * np.sinh(eta), e], axis=1)
    return found, good
