"""Neural networks."""

from posterion.networks.architectures import Architecture, convolutional, mlp, on_rows
from posterion.networks.convolutions import Convolutional
from posterion.networks.made import MADE
from posterion.networks.perceptron import MLP

__all__ = ["MADE", "MLP", "Architecture", "Convolutional", "convolutional", "mlp", "on_rows"]
