"""Training: ``learn`` turns a density into a posterior that samples itself."""

from posterion.training.divergences import (
    Divergence,
    alpha,
    chi_squared,
    forward_kl,
    jeffreys,
    reverse_kl,
)
from posterion.training.method import DEFAULT, POSTER, Method
from posterion.training.mixed import MixedPosterior
from posterion.training.posterior import Posterior, WeightedSample, load
from posterion.training.self_learning import learn

__all__ = [
    "DEFAULT",
    "POSTER",
    "Divergence",
    "Method",
    "MixedPosterior",
    "Posterior",
    "WeightedSample",
    "alpha",
    "chi_squared",
    "forward_kl",
    "jeffreys",
    "learn",
    "load",
    "reverse_kl",
]
