"""Emulators: Bayesian neural networks in place of an expensive theory."""

from posterion.emulators.emulate import emulate
from posterion.emulators.emulator import Emulator, table_of
from posterion.emulators.kernels import AdjustedMclmc, Hmc, Kernel, Mclmc, Nuts
from posterion.emulators.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    Heteroscedastic,
    Likelihood,
    Own,
    StudentT,
)
from posterion.emulators.predicting import Prediction
from posterion.emulators.priors import (
    Hierarchical,
    Horseshoe,
    Independent,
    OfGroups,
    WeightPrior,
)
from posterion.emulators.reweighting import reweight

__all__ = [
    "AdjustedMclmc",
    "Bernoulli",
    "Categorical",
    "Emulator",
    "Gaussian",
    "Heteroscedastic",
    "Hierarchical",
    "Hmc",
    "Horseshoe",
    "Independent",
    "Kernel",
    "Likelihood",
    "Mclmc",
    "Nuts",
    "OfGroups",
    "Own",
    "Prediction",
    "StudentT",
    "WeightPrior",
    "emulate",
    "reweight",
    "table_of",
]
