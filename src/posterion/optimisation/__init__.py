"""Optimisation: the compiled loop and its checkpoints; knows no verb."""

from posterion.optimisation.checkpoint import Checkpoint, leaves_of, restore
from posterion.optimisation.guard import Guard
from posterion.optimisation.loop import (
    Trained,
    adam,
    cosine,
    run_segment,
    run_segments,
    trainable,
    update,
)
from posterion.optimisation.placement import Placement

__all__ = [
    "Checkpoint",
    "Guard",
    "Placement",
    "Trained",
    "adam",
    "cosine",
    "leaves_of",
    "restore",
    "run_segment",
    "run_segments",
    "trainable",
    "update",
]
