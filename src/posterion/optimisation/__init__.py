"""Optimisation: the compiled loop and its checkpoints; knows no verb."""

from posterion.optimisation.checkpoint import Checkpoint, leaves_of, restore
from posterion.optimisation.guard import Guard
from posterion.optimisation.loop import Trained, cosine, run_segment, trainable, update

__all__ = [
    "Checkpoint",
    "Guard",
    "Trained",
    "cosine",
    "leaves_of",
    "restore",
    "run_segment",
    "trainable",
    "update",
]
