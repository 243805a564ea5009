"""Emulators: Bayesian neural networks in place of an expensive theory."""

from posterion.emulators.approximation import Approximation
from posterion.emulators.approximations import DeepEnsemble, LastLayerLaplace, Swag
from posterion.emulators.design import next_points
from posterion.emulators.distilled import Distilled
from posterion.emulators.distilling import distil
from posterion.emulators.dropout import ConcreteDropout
from posterion.emulators.emulate import emulate
from posterion.emulators.emulator import Emulator, table_of
from posterion.emulators.exporting import export_emulator
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
from posterion.emulators.surrogate import Surrogate
from posterion.emulators.variational import Flipout, MeanField

__all__ = [
    "AdjustedMclmc",
    "Alternated",
    "Approximation",
    "Bernoulli",
    "Categorical",
    "ConcreteDropout",
    "DeepEnsemble",
    "Distilled",
    "Emulator",
    "Flipout",
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
    "Surrogate",
    "Swag",
    "WeightPrior",
    "distil",
    "emulate",
    "export_emulator",
    "next_points",
    "reweight",
    "table_of",
]
