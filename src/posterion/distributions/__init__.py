"""Distributions: bases, flows, mixtures, and the families of flows."""

from posterion.distributions import families as flows
from posterion.distributions.base import Distribution, Samplable
from posterion.distributions.bases import Normal, Product, Uniform, VonMises
from posterion.distributions.flow import Flow
from posterion.distributions.manifold import ManifoldFlow, projected, projected_log_probs
from posterion.distributions.mixture import Mixture, NormalMixture
from posterion.distributions.summarising import summarised
from posterion.distributions.symmetric import Symmetrised

__all__ = [
    "Distribution",
    "Flow",
    "ManifoldFlow",
    "Mixture",
    "Normal",
    "NormalMixture",
    "Product",
    "Samplable",
    "Symmetrised",
    "Uniform",
    "VonMises",
    "flows",
    "projected",
    "projected_log_probs",
    "summarised",
]
