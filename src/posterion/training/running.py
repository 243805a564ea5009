"""The loop of a fit: epoch after epoch of compiled segments, until nothing is gained any more."""

import time
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np

from posterion.core.errors import InterruptedLearning
from posterion.core.progress import Progress
from posterion.optimisation import (
    Checkpoint,
    Placement,
    Trained,
    leaves_of,
    restore,
    run_segment,
    trainable,
)
from posterion.training.feeding import Feed
from posterion.training.losses import Learnable, Loss
from posterion.training.ranges import warn
from posterion.training.recipe import Settled

_SAVE_EVERY = 5.0
_SLOWER, _SLOWEST = 0.5, 1e-3


@dataclass
class Run:
    """One fit: what is trained, and what a checkpoint must hold of it.

    Attributes:
        flow: as it starts.
        fed: the rows.
        method: the settings.
        losses: minimised one after the other, each from the best of the one before.
        seed: of everything.
        placement: the devices.
        kept: the checkpoint.
        rows: the history, a row an epoch.
        starts: number of the first epoch of each loss so far.
        factor: of the learning rate, on a plateau.
        best: epoch whose parameters are kept.
        extra: what the present loss has made for itself, such as a classifier.
        compiling, saved, skipped: seconds, time of the last checkpoint, steps left out.
        few: a note where rows are fewer than weights.
    """

    flow: Learnable
    fed: Feed
    method: Settled
    losses: tuple[Loss, ...]
    seed: int
    placement: Placement
    kept: Checkpoint
    rows: list[dict[str, float]] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    factor: float = 1.0
    best: int = 0
    extra: dict[str, Any] | None = None
    compiling: float = 0.0
    saved: float = -np.inf
    skipped: int = 0
    few: tuple[str, ...] = ()

    def __post_init__(self):
        params, fixed = trainable(self.flow)
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        if (rows := self.fed.prepared.rows) < weights:
            self.few = (
                f"{rows} rows for {weights} weights: what held-out rows say is all that keeps the "
                "fit from learning them by heart; a smaller network needs fewer",
            )
            warn(*self.few)
        self.optimiser = self.loss.optimiser(self.method.clip)
        start = Trained.start(params, self.optimiser, averaged=self.method.average > 0)
        self.state = self.placement.everywhere(start)
        self.still, self.fixed = fixed, self.placement.everywhere(fixed)
        self.best_params = params
        with jax.enable_x64(True):
            frame = self.placement.everywhere(self.fed.prepared.frame)
        self.frame = frame
        self.valid = self.fed.valid

    @property
    def loss(self) -> Loss:
        """The present one."""
        return self.losses[len(self.starts) - 1]

    # The loop ---------------------------------------------------------------------------------

    def go(self, bar: Progress, resume: bool) -> str:
        """Loss after loss; why the last one ended."""
        loaded = self.kept.load() if resume else None
        if loaded is not None:
            self._restore(*loaded)
        held = None if self.fed.held is None else self._inputs(self.fed.held)
        stop = self._minimise(held, bar)
        while stop != "failed" and len(self.starts) < len(self.losses):
            self._next()
            stop = self._minimise(held, bar)
        return stop

    def _next(self) -> None:
        """The next loss, from the best parameters so far."""
        self.starts.append(len(self.rows))
        self.optimiser = self.loss.optimiser(self.method.clip)
        start = Trained.start(self.best_params, self.optimiser, averaged=self.method.average > 0)
        self.state = self.placement.everywhere(start)
        self.factor, self.best, self.extra = 1.0, len(self.rows), None

    def _minimise(self, held: Any, bar: Progress) -> str:
        """Epoch after epoch, until the held-out loss no longer falls."""
        # On the host: several processes can pass nothing else to what they share.
        key: Any = np.asarray(jax.random.key_data(jax.random.key(self.seed)))
        last = self.starts[-1] + self.method.epochs
        for epoch in range(len(self.rows), last):
            began = time.perf_counter()
            if self._exhausted(epoch):
                return "early"
            self._refresh(epoch)
            losses = []
            for k, (arrays, rows) in enumerate(self.fed.epoch(epoch, self.seed)):
                inputs = held if arrays is None else self._inputs(arrays)
                inputs = inputs if self.extra is None else {**inputs, **self.extra}
                first = (epoch * self.fed.segments + k) * self.fed.steps
                number: Any = np.asarray(first, np.int32)
                state, record = run_segment(
                    self.loss,
                    self.state,
                    self.fixed,
                    inputs,
                    key,
                    number,
                    self._schedule(first, rows),
                    self.optimiser,
                )
                self.state = state
                losses.append(np.asarray(record["loss"], np.float64))
                if epoch == self.starts[-1] and k == 0:
                    self.compiling += time.perf_counter() - began
            loss = _mean_of_finite(np.concatenate(losses))
            self._note(epoch, loss, time.perf_counter() - began)
            bar.update(
                epoch + 1,
                total=len(self.losses) * self.method.epochs,
                loss=self.rows[-1]["valid"],
            )
            if not np.isfinite(loss):
                return "failed"
            self._save()
        return "finished"

    def _refresh(self, epoch: int) -> None:
        """What the loss needs beside the rows, anew where it is due."""
        params = self.placement.fetched(self.state.params)
        flow = eqx.combine(params, self.still)
        fresh = self.loss.refresh(flow, self.fed, epoch - self.starts[-1], self.seed)
        if fresh is not None:
            self.extra = self.placement.everywhere(fresh)

    def _inputs(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        return {**self.placement.everywhere(arrays), "frame": self.frame}

    def _schedule(self, first: int, rows: np.ndarray) -> dict[str, Any]:
        steps = first + np.arange(len(rows))
        along = steps - self.starts[-1] * self.fed.segments * self.fed.steps
        total = self.method.epochs * self.fed.segments * self.fed.steps
        rate = np.full(len(rows), self.method.rate * self.factor)
        if self.method.schedule == "cosine":
            rate = rate * 0.5 * (1 + np.cos(np.pi * along / total))
        decay = np.minimum(self.method.average, (1 + along) / (10 + along))
        return {
            "rate": self.placement.everywhere(rate.astype(np.float32)),
            "decay": self.placement.everywhere(decay.astype(np.float32)),
            "rows": self.placement.shared(rows, 1),
        }

    def _note(self, epoch: int, loss: float, seconds: float) -> None:
        """One row of the history; the best parameters on the held-out rows are kept."""
        params = self.state.params if self.state.average is None else self.state.average
        params = self.placement.fetched(params)
        value = self.held_out_loss(params)
        self.skipped = int(self.state.skipped)
        before = [row["valid"] for row in self.rows[self.starts[-1] :]]
        lowest = min((old for old in before if np.isfinite(old)), default=np.inf)
        if value < lowest:
            self.best, self.best_params = epoch + 1, params
        elif self.method.schedule == "plateau" and self._since(epoch) % self._slower_after() == 0:
            self.factor *= _SLOWER
        row = {"epoch": float(epoch + 1), "loss": loss, "valid": value, "seconds": seconds}
        row["phase"] = float(len(self.starts))
        self.rows.append(row)

    def held_out_loss(self, params: Any) -> float:
        """Weighted mean over the held-out rows of what the loss calls their cost."""
        weight = self.valid["weight"].astype(np.float64)
        context = self.valid["context"] if self.valid["context"].shape[1] else None
        flow = eqx.combine(params, self.still)
        return float(weight @ self.loss.costs(flow, self.valid["v"], context) / weight.sum())

    def _since(self, epoch: int) -> int:
        return epoch + 1 - self.best

    def _slower_after(self) -> float:
        return max(1.0, self.method.patience // 3)

    def _exhausted(self, epoch: int) -> bool:
        """Whether nothing is gained any more."""
        waited = epoch - self.best >= self.method.patience
        return epoch > self.starts[-1] and (waited or self.factor < _SLOWEST)

    # Checkpoints ------------------------------------------------------------------------------

    def _save(self, *, force: bool = False) -> None:
        now = time.perf_counter()
        if self.kept.path is None or not (force or now - self.saved > _SAVE_EVERY):
            return
        if jax.process_index() != 0:  # one file for all
            return
        note = {name: getattr(self, name) for name in ("rows", "starts", "factor", "best")}
        arrays = {**leaves_of(self.state, "state"), **leaves_of(self.best_params, "best")}
        if self.extra is not None:
            arrays |= leaves_of(self.extra, "extra")
        self.kept.save(note, arrays)
        self.saved = now

    def _restore(self, note: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.rows, self.starts = list(note["rows"]), list(note["starts"])
        self.optimiser = self.loss.optimiser(self.method.clip)
        self.factor, self.best = note["factor"], note["best"]
        self.state = self.placement.everywhere(restore(self.state, "state", arrays))
        self.best_params = restore(self.best_params, "best", arrays)
        blank = self.loss.refresh(eqx.combine(self.best_params, self.still), self.fed, 0, self.seed)
        if blank is not None:
            self.extra = self.placement.everywhere(restore(blank, "extra", arrays))

    def interrupted(self, name: str) -> InterruptedLearning:
        """What Ctrl-C leaves: the end of the last whole epoch that was saved."""
        if self.kept.path is None:
            return InterruptedLearning(
                f"fitting {name!r} was interrupted and nothing was kept; give checkpoint=FILE to "
                "be able to resume"
            )
        return InterruptedLearning(
            f"fitting {name!r} was interrupted; it stands in {self.kept.path}: call again with "
            "resume=True to go on from there"
        )

    # Outcome ----------------------------------------------------------------------------------

    def outcome(self, stop: str, seconds: dict[str, float | int]) -> dict[str, Any]:
        """What the health report needs to know of the loop."""
        before = [row["valid"] for row in self.rows[self.starts[-1] :]]
        late = before[-max(2, len(before) // 5) :]
        improving = stop == "finished" and self.best >= len(self.rows) - 1 and len(before) > 1
        fall = late[0] - late[-1]
        return {
            "stop": stop,
            "epochs": len(self.rows),
            "best": self.best,
            "skipped": self.skipped,
            "improving": bool(improving and fall > 1e-3 * (1 + abs(late[-1]))),
            "seconds": {**seconds, "compiling": self.compiling},
            "dropped": self.fed.prepared.dropped,
            "notes": (*self.fed.prepared.notes, *self.few),
        }

    def history(self) -> dict[str, np.ndarray]:
        """Arrays of one entry per epoch."""
        names = ["epoch", "loss", "valid", "seconds", *(["phase"] if self.losses[1:] else [])]
        return {name: np.array([row[name] for row in self.rows], float) for name in names}


def _mean_of_finite(losses: np.ndarray) -> float:
    """Of an epoch; NaN where no step had a finite loss, as then nothing is learned any more."""
    finite = np.isfinite(losses)
    return float(losses[finite].mean()) if finite.any() else float("nan")
