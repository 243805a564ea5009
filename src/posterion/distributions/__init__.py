"""Distributions: bases, flows, mixtures, and the families of flows."""

from posterion.distributions.base import Distribution, Samplable
from posterion.distributions.bases import Normal, Product, Uniform, VonMises
from posterion.distributions.families import realnvp
from posterion.distributions.flow import Flow
from posterion.distributions.mixture import Mixture, NormalMixture

__all__ = [
    "Distribution",
    "Flow",
    "Mixture",
    "Normal",
    "NormalMixture",
    "Product",
    "Samplable",
    "Uniform",
    "VonMises",
    "realnvp",
]
