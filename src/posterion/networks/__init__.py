"""Neural networks."""

from posterion.networks.architectures import (
    Architecture,
    convolutional,
    deep_set,
    mlp,
    on_rows,
    set_attention,
)
from posterion.networks.convolutions import Convolutional
from posterion.networks.made import MADE
from posterion.networks.perceptron import MLP
from posterion.networks.sets import DeepSet, SetAttention

__all__ = [
    "MADE",
    "MLP",
    "Architecture",
    "Convolutional",
    "DeepSet",
    "SetAttention",
    "convolutional",
    "deep_set",
    "mlp",
    "on_rows",
    "set_attention",
]
