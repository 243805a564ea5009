"""Targets: unnormalised log-densities over named parameters."""

from posterion.targets.frame import Frame
from posterion.targets.numpyro_model import from_numpyro
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target

__all__ = ["Frame", "Parameter", "Target", "from_numpyro"]
