"""Neural networks."""

from posterion.networks.made import MADE
from posterion.networks.mlp import MLP

__all__ = ["MADE", "MLP"]
