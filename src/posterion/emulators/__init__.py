"""Emulators: Bayesian neural networks in place of an expensive theory."""

from posterion.emulators.approximations import (
    Approximation,
    DeepEnsemble,
    LastLayerLaplace,
    MeanField,
    Swag,
)
from posterion.emulators.emulate import emulate
from posterion.emulators.emulator import Emulator, table_of
from posterion.emulators.kernels import (
    AdjustedMclmc,
    Alternated,
    Hmc,
    Kernel,
    L2hmc,
    Mclmc,
    Nuts,
    Rmhmc,
    Sghmc,
)
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
    "Alternated",
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
    "L2hmc",
    "LastLayerLaplace",
    "Likelihood",
    "Mclmc",
    "MeanField",
    "Nuts",
    "OfGroups",
    "Own",
    "Prediction",
    "Rmhmc",
    "Sghmc",
    "StudentT",
    "Swag",
    "WeightPrior",
    "emulate",
    "reweight",
    "table_of",
]
