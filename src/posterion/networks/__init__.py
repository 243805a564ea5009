"""Neural networks."""

from posterion.networks.mlp import MLP

__all__ = ["MLP"]
