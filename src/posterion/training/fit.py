"""``fit``: from samples to their density, with draws, a health report and a file.

1. The samples are looked through once: what cannot be used is named, and the frame is found, in
   which coordinates are of order one and live on the line or on circles. 2. The flow learns in
   compiled segments of shuffled batches; held-out rows decide when to stop and what is kept.
3. Fresh draws are compared with the held-out rows.
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from posterion.core.errors import InterruptedLearning, SettingError
from posterion.core.progress import Progress, progress
from posterion.core.versions import versions
from posterion.distributions.flow import Flow
from posterion.optimisation import (
    Checkpoint,
    Placement,
    Trained,
    adam,
    leaves_of,
    restore,
    run_segment,
    trainable,
)
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target
from posterion.training.feeding import Feed, feed
from posterion.training.fitted import Fit, examine
from posterion.training.losses import Loss, log_probs
from posterion.training.preparing import Prepared, prepare
from posterion.training.recipe import FitMethod, loss_of, make_fit_method
from posterion.training.samples import Samples, gather_samples
from posterion.training.supports import core_and_support, warn_if_slow

CITATIONS = ("posterion", "kingma2015", "jax2018", "kidger2021")
_SAVE_EVERY = 5.0
_SLOWER, _SLOWEST = 0.5, 1e-3


def fit(
    flow: Flow,
    samples: Any,
    *,
    weights: Any = None,
    context: Any = None,
    parameters: Sequence[Parameter] | None = None,
    target: Target | None = None,
    loss: str | Loss = "nll",
    seed: int = 0,
    drop: bool = False,
    devices: Sequence[Any] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    quiet: bool | None = None,
    name: str = "samples",
    **changes: Any,
) -> Fit:
    """Fits a flow to samples.

    Args:
        flow: of :mod:`posterion.flows`; its bounds are the support of the samples.
        samples: an array (n, dim), a dict of arrays, a DataFrame, a
            :class:`~posterion.sampling.Chain`, or a table's path: ``.parquet .h5 .root .npz .csv``.
            Files larger than a quarter of a GB are read anew in each epoch, in bounded memory.
        weights: one a row, or the name of a column.
        context: the condition of each row, (n, width), or names of columns.
        parameters: names, units, labels and bounds of the coordinates.
        target: the density that the samples are of, where it is known: for
            ``loss="samples_and_density"``, and kept with the result.
        loss: ``"nll"``, ``"samples_and_density"`` (Jeffreys), ``"flow_matching"``, or a
            :class:`~posterion.training.losses.Loss`.
        seed: of everything.
        drop: leave out rows that are not finite or outside of the support; they are counted.
        devices: that share each batch; the result is that of one, up to the order of sums.
        checkpoint: file in which the fit is kept as it goes.
        resume: go on from that file, if it is there.
        quiet: no progress bar; by default only where there is no terminal.
        name: for reports and files.
        changes: settings of the :class:`~posterion.training.FitMethod`, such as ``epochs=50``.

    Returns:
        The fit: ``print(fit)`` is its health, ``fit.sample(n, seed=...)``, ``fit.log_prob(x)``.

    Raises:
        SampleError: samples that cannot be learned from; the message names rows and columns.
        SettingError: unknown or unusable settings, or a flow that does not suit the samples.
        CheckpointError: the checkpoint is of another fit.
        InterruptedLearning: Ctrl-C; the message says how to resume.
    """
    method = make_fit_method(changes)
    if seed < 0:
        raise SettingError(f"seed must be a whole number of at least 0, got {seed}")
    if resume and checkpoint is None:
        raise SettingError("resume needs the file to go on from: give checkpoint=")
    if parameters is None and target is not None:
        parameters = target.parameters
    given = gather_samples(samples, weights=weights, context=context, parameters=parameters)
    core, support, described = core_and_support(flow, given, declared=parameters is not None)
    given = Samples(given.rows, described, given.context, given.weighted, given.form, given.notes)
    warn_if_slow(core, "inverse")
    if target is not None and list(target.names) != [p.name for p in described]:
        raise SettingError(f"the target has the parameters {list(target.names)}, the samples not")
    chosen = loss_of(loss, core, target, method)
    prepared = prepare(given, support, whiten=method.whiten, drop=drop, quiet=quiet)
    fed = feed(given, prepared, batch=method.batch, validation=method.validation, seed=seed)
    identity = {
        "fit": name,
        "parameters": [c for p in described for c in p.columns],
        "context": list(given.context),
        "rows": prepared.rows,
        "location": np.asarray(prepared.frame.whitening.location).tolist(),
        "seed": seed,
        "loss": str(chosen),
        "method": {k: str(v) for k, v in asdict(method).items()},
    }
    run = _Run(
        core, fed, method, chosen, seed, Placement(devices), Checkpoint(checkpoint, identity)
    )
    began = time.perf_counter()
    with progress(f"fitting {name}", quiet=quiet) as bar:
        try:
            stop = run.go(bar, resume)
        except KeyboardInterrupt as error:
            raise run.interrupted(name) from error
        seconds = {"fitting": time.perf_counter() - began - run.compiling}
        bar.update(description=f"checking {name}")
        blank = _assemble(name, run, given, prepared, target, method, seed)
        result = examine(blank, fed, run.outcome(stop, seconds), seed=seed)
    run.kept.remove()
    return result


@dataclass
class _Run:
    """One fit: what is trained, and what a checkpoint must hold of it."""

    flow: Flow
    fed: Feed
    method: FitMethod
    loss: Loss
    seed: int
    placement: Placement
    kept: Checkpoint
    rows: list[dict[str, float]] = field(default_factory=list)
    factor: float = 1.0
    best: int = 0
    compiling: float = 0.0
    saved: float = -np.inf
    skipped: int = 0

    def __post_init__(self):
        params, fixed = trainable(self.flow)
        self.optimiser = adam(self.method.clip)
        start = Trained.start(params, self.optimiser, averaged=self.method.average > 0)
        self.state = self.placement.everywhere(start)
        self.still, self.fixed = fixed, self.placement.everywhere(fixed)
        self.best_params = params
        with jax.enable_x64(True):
            frame = self.placement.everywhere(self.fed.prepared.frame)
        self.frame = frame
        self.valid = self.fed.valid

    # The loop ---------------------------------------------------------------------------------

    def go(self, bar: Progress, resume: bool) -> str:
        """Epoch after epoch, until the held-out loss no longer falls."""
        loaded = self.kept.load() if resume else None
        if loaded is not None:
            self._restore(*loaded)
        held = None if self.fed.held is None else self._inputs(self.fed.held)
        # On the host: several processes can pass nothing else to what they share.
        key: Any = np.asarray(jax.random.key_data(jax.random.key(self.seed)))
        for epoch in range(len(self.rows), self.method.epochs):
            began = time.perf_counter()
            if self._exhausted(epoch):
                return "early"
            losses = []
            for k, (arrays, rows) in enumerate(self.fed.epoch(epoch, self.seed)):
                inputs = held if arrays is None else self._inputs(arrays)
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
                if epoch == k == 0:
                    self.compiling = time.perf_counter() - began
            loss = _mean_of_finite(np.concatenate(losses))
            self._note(epoch, loss, time.perf_counter() - began)
            bar.update(epoch + 1, total=self.method.epochs, loss=self.rows[-1]["valid"])
            if not np.isfinite(loss) or not np.isfinite(self.rows[-1]["valid"]):
                return "failed"
            self._save()
        return "finished"

    def _inputs(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        return {**self.placement.everywhere(arrays), "frame": self.frame}

    def _schedule(self, first: int, rows: np.ndarray) -> dict[str, Any]:
        steps = first + np.arange(len(rows))
        total = self.method.epochs * self.fed.segments * self.fed.steps
        rate = np.full(len(rows), self.method.rate * self.factor)
        if self.method.schedule == "cosine":
            rate = rate * 0.5 * (1 + np.cos(np.pi * steps / total))
        decay = np.minimum(self.method.average, (1 + steps) / (10 + steps))
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
        lowest = min((row["valid"] for row in self.rows), default=np.inf)
        if value < lowest:
            self.best, self.best_params = epoch + 1, params
        elif self.method.schedule == "plateau" and self._since(epoch) % self._slower_after() == 0:
            self.factor *= _SLOWER
        row = {"step": float(epoch + 1), "loss": loss, "valid": value, "seconds": seconds}
        self.rows.append(row)

    def held_out_loss(self, params: Any) -> float:
        """Minus the weighted mean log-density of the held-out rows."""
        weight = self.valid["weight"].astype(np.float64)
        context = self.valid["context"] if self.valid["context"].shape[1] else None
        values = log_probs(eqx.combine(params, self.still), self.valid["v"], context)
        return -float(weight @ values / weight.sum())

    def _since(self, epoch: int) -> int:
        return epoch + 1 - self.best

    def _slower_after(self) -> int:
        return max(1, self.method.patience // 3)

    def _exhausted(self, epoch: int) -> bool:
        """Whether nothing is gained any more."""
        waited = epoch - self.best >= self.method.patience
        return epoch > 0 and (waited or self.factor < _SLOWEST)

    # Checkpoints ------------------------------------------------------------------------------

    def _save(self, *, force: bool = False) -> None:
        now = time.perf_counter()
        if self.kept.path is None or not (force or now - self.saved > _SAVE_EVERY):
            return
        if jax.process_index() != 0:  # one file for all
            return
        note = {"rows": self.rows, "factor": self.factor, "best": self.best}
        arrays = {**leaves_of(self.state, "state"), **leaves_of(self.best_params, "best")}
        self.kept.save(note, arrays)
        self.saved = now

    def _restore(self, note: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.rows, self.factor, self.best = list(note["rows"]), note["factor"], note["best"]
        self.state = self.placement.everywhere(restore(self.state, "state", arrays))
        self.best_params = restore(self.best_params, "best", arrays)

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
        late = [row["valid"] for row in self.rows[-max(2, len(self.rows) // 5) :]]
        before = [row["valid"] for row in self.rows]
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
            "notes": self.fed.prepared.notes,
        }

    def history(self) -> dict[str, np.ndarray]:
        """Arrays of one entry per epoch."""
        names = ("step", "loss", "valid", "seconds")
        return {name: np.array([row[name] for row in self.rows], float) for name in names}


def _mean_of_finite(losses: np.ndarray) -> float:
    """Of an epoch; NaN where no step had a finite loss, as then nothing is learned any more."""
    finite = np.isfinite(losses)
    return float(losses[finite].mean()) if finite.any() else float("nan")


def _assemble(
    name: str,
    run: _Run,
    given: Samples,
    prepared: Prepared,
    target: Target | None,
    method: FitMethod,
    seed: int,
) -> Fit:
    """The fit before its health is known."""
    return Fit(
        name=name,
        parameters=given.parameters,
        flow=eqx.combine(run.best_params, run.still),
        frame=prepared.frame,
        context=given.context,
        context_location=prepared.location,
        context_scale=prepared.scale,
        form=given.form,
        history=run.history(),
        settings={**asdict(method), "loss": str(run.loss), "seed": seed},
        versions=versions(),
        citations=CITATIONS,
        provenance={
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seed": seed,
            "rows": prepared.rows,
            "effective_rows": prepared.effective,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        target=target,
    )
