"""Emulators: Bayesian neural networks in place of an expensive theory."""

from posterion.emulators.approximations import (
    Approximation,
    DeepEnsemble,
    LastLayerLaplace,
    MeanField,
    Swag,
)
from posterion.emulators.design import next_points
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
    "Approximation",
    "Bernoulli",
    "Categorical",
    "DeepEnsemble",
    "Emulator",
    "Gaussian",
    "Heteroscedastic",
    "Hierarchical",
    "Hmc",
    "Horseshoe",
    "Independent",
    "Kernel",
    "LastLayerLaplace",
    "Likelihood",
    "Mclmc",
    "MeanField",
    "Nuts",
    "OfGroups",
    "Own",
    "Prediction",
    "StudentT",
    "Swag",
    "WeightPrior",
    "emulate",
    "next_points",
    "reweight",
    "table_of",
]
