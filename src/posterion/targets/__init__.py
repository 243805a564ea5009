"""Targets: unnormalised log-densities over named parameters."""

from posterion.targets.combined import combine
from posterion.targets.frame import Frame
from posterion.targets.numpyro_model import from_numpyro
from posterion.targets.parameter import Parameter
from posterion.targets.pyhf_model import from_pyhf
from posterion.targets.target import Target

__all__ = ["Frame", "Parameter", "Target", "combine", "from_numpyro", "from_pyhf"]
