"""Training that falls apart goes back to its best, and on from there more slowly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from posterion.core.errors import CheckpointError
from posterion.optimisation.checkpoint import leaves_of, restore
from posterion.optimisation.loop import Trained

_FALL, _PATIENCE, _MOST = 0.5, 3, 3


@dataclass
class Guard:
    """Watches a score of which more is better, one a segment.

    Where it stays below half of its best for three segments, the parameters of the best one come
    back with an empty memory, and the learning rate is halved; three times at most.

    Attributes:
        best: the state of the best score.
        score: that score.
        low: segments below half of it, until now.
        returns: how often it went back.
    """

    best: Trained
    score: float = 0.0
    low: int = 0
    returns: int = 0

    @property
    def slower(self) -> float:
        """What the learning rate is to be multiplied with."""
        return 0.5**self.returns

    def watch(self, state: Trained, score: float) -> Trained:
        """The state to go on from."""
        if score >= self.score:
            self.best, self.score, self.low = state, score, 0
            return state
        self.low = self.low + 1 if score < _FALL * self.score else 0
        if self.low < _PATIENCE or self.returns == _MOST:
            return state
        self.low, self.returns = 0, self.returns + 1
        return Trained.start(self.best.params)._replace(skipped=state.skipped)

    def last(self, state: Trained) -> Trained:
        """The state to end with: the best one, where training ends in a fall."""
        return self.best if self.low else state

    def leaves(self, name: str) -> dict[str, np.ndarray]:
        """What a checkpoint keeps."""
        numbers = np.array([self.score, self.low, self.returns], np.float64)
        return {**leaves_of(self.best, f"{name}.best"), f"{name}.watched": numbers}

    @classmethod
    def restored(cls, state: Trained, name: str, arrays: Mapping[str, np.ndarray]) -> "Guard":
        """As it was kept under ``name``; ``state`` gives the structure.

        Raises:
            CheckpointError: the checkpoint holds none, or one of another structure.
        """
        watched = arrays.get(f"{name}.watched")
        if watched is None:
            raise CheckpointError(f"the checkpoint lacks the guard of {name}; start anew")
        score, low, returns = watched
        best = restore(state, f"{name}.best", arrays)
        return cls(best, float(score), int(low), int(returns))
