"""``learn``: from an unnormalised log-density alone to a posterior that samples itself.

1. Scouting: sequential Monte Carlo from the reference measure gives particles, log Z, modes and the
   frame. 2. The flow starts from them: a normal (or a mixture, one for each separated mode) and a
   short maximum likelihood fit. 3. Path gradients of a divergence, at the flow's own draws and at
   wider ones. 4. The particles, moved along the flow, are the witness of its health; where they
   object, another start is tried.
"""

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from posterion.core.cores import usable_cores
from posterion.core.errors import CheckpointError, InterruptedLearning
from posterion.core.estimate import Estimate
from posterion.core.progress import Progress, progress
from posterion.core.versions import versions
from posterion.diagnostics import Findings, assess
from posterion.diagnostics.weights import NonFinite
from posterion.distributions.bases import Normal
from posterion.distributions.flow import Flow
from posterion.optimisation import Checkpoint, Trained, leaves_of, restore, trainable
from posterion.sampling.smc import Scouted
from posterion.targets.frame import Frame
from posterion.targets.target import Target, x_of
from posterion.training.assessment import Witness, content_with, hopeless, measure, score_of
from posterion.training.attempts import (
    COMPONENTS,
    SEGMENT,
    Limits,
    Record,
    descend,
    first_flow,
    fit_values,
    pretrain,
    settle,
)
from posterion.training.gaussians import predicts_better
from posterion.training.method import Method, check_limits, make_method, plain
from posterion.training.posterior import Posterior
from posterion.training.scouting import Ground, adopt, first_frame, lay_out, survey

CITATIONS = (
    "posterion",
    "yamauchi2023",
    "roeder2017",
    "vaitl2022",
    "vaitl2024",
    "dinh2017",
    "delmoral2006",
    "vehtari2024",
    "jax2018",
    "kidger2021",
)
_EARLY = 3
_MIXED = 30  # dimensions: with more, components do not cover what a normal does not
_FOR_A_TAIL, _TAIL_SHARE = 2, 3
_GOES_ON = ("again", "tail")
_SAVE_EVERY = 2.0
_NOTHING: Mapping[str, Any] = {}


def learn(
    target: Target,
    *,
    seed: int = 0,
    method: str | Method = "default",
    budget: int | None = None,
    seconds: float | int | None = None,
    start: Posterior | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    quiet: bool | None = None,
    **changes: Any,
) -> Posterior:
    """Learns the posterior of a target from its density alone.

    Args:
        target: the density and its parameters.
        seed: of everything; the same seed, versions, machine and cores give the same bits.
        method: ``"default"``, ``"poster"`` (the recipe of arXiv:2310.04635) or a
            :class:`~posterion.training.Method`.
        budget: density calls that learning may use at most; scouting and health are counted beside.
        seconds: wall time that learning may use at most; such a result depends on the machine.
        start: an earlier posterior of the same parameters to start from.
        checkpoint: file in which the run is kept as it grows.
        resume: go on from that file, if it is there.
        quiet: no progress bar; by default only where there is no terminal.
        changes: settings of the method, such as ``steps=2000``.

    Returns:
        The posterior. Read ``print(result)``: its status says whether to believe it.

    Raises:
        DensityError: the density raises, has the wrong shape, or is finite nowhere.
        SettingError: unknown or unusable settings.
        CheckpointError: the checkpoint is of another run.
        InterruptedLearning: Ctrl-C; the message says how to resume.
    """
    chosen = make_method(method, changes)
    check_limits(seed, budget, seconds, checkpoint, resume)
    if not target.has_gradient and method == "poster":
        target.require_gradient("the poster's recipe")
    kept = Checkpoint(checkpoint, _identity(target, seed, chosen, budget))
    limits = Limits(budget, None if seconds is None else time.perf_counter() + seconds)
    run = _Run(target, seed, chosen, limits, kept)
    try:
        with progress(f"learning {target.name}", quiet=quiet) as bar:
            return run.go(bar, start, resume)
    except KeyboardInterrupt as error:
        raise run.interrupted() from error
    finally:
        target.close()


def starts(method: Method, target: Target, frame: Frame, start: Posterior | None) -> list[str]:
    """What each attempt starts from, in order."""
    first = "start" if start is not None else method.base
    kinds = [first, "again"]
    if method.base == "auto" and target.has_gradient:
        whole = frame.circular.any() or frame.dim > _MIXED
        kinds = [first, "again" if whole else "mixture", "again"]
    return kinds[: method.attempts]


def _identity(target: Target, seed: int, method: Method, budget: int | None) -> dict[str, Any]:
    return {
        "target": target.name,
        "parameters": list(target.columns),
        "measure": target.measure(),
        "seed": seed,
        "budget": budget,
        "method": {k: str(v) for k, v in asdict(method).items()},
    }


@dataclass
class _Run:
    """One run of :func:`learn`: its parts in order, and what a checkpoint must hold of them."""

    target: Target
    seed: int
    method: Method
    limits: Limits
    kept: Checkpoint
    record: Record = field(default_factory=Record)
    scouting: float = 0.0
    note: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    saved: float = -np.inf

    def go(self, bar: Progress, start: Posterior | None, resume: bool) -> Posterior:
        """Scouts, learns, asks the witness, and tries again where it objects."""
        loaded = self.kept.load() if resume else None
        if loaded is not None:
            self.note, self.arrays = loaded
            self.record = Record(**self.note.get("record", {}))
        ground, witness = self._scout(bar, start)
        best = self._best_so_far(ground, witness, start)
        kinds = list(
            self.note.get("kinds") or starts(self.method, self.target, ground.frame, start)
        )
        number = int(self.note.get("attempt", 0))
        while number < len(kinds) and not self.note.get("content", False):
            if best is not None and best[2].status.ok:
                kinds[number] = "tail"  # only that is in doubt
            flow, stop = self._attempt(number, kinds, ground, bar, start, best)
            bar.update(description=f"checking {self.target.name}")
            posterior = self._assemble(flow, ground, witness, stop)
            self.record.checking = posterior.health.calls["health"]
            self.record.checking_seconds = float(posterior.health.seconds["health"])
            score = score_of(posterior.health)
            if best is None or score > best[0]:
                built = best[1] if kinds[number] in _GOES_ON and best else kinds[number]
                best = (score, built, posterior)
                self.arrays |= leaves_of(flow, "best")
                self.note["best"] = {"built": built, "score": score, "stop": stop}
            number += 1
            self.note["attempt"] = number
            self.arrays = {k: v for k, v in self.arrays.items() if not k.startswith("state.")}
            self.note.pop("step", None)
            enough = stop == "budget" or (number >= _FOR_A_TAIL and best[2].status.ok)
            self.note["content"] = enough or content_with(posterior.health)
            self._mark()
            self._save(force=True)
        if best is None:
            raise CheckpointError("the checkpoint holds no attempt; remove it and start anew")
        self.kept.remove()
        health = replace(best[2].health, calls=self._calls(ground), seconds=self._seconds())
        return replace(best[2], health=health)

    def interrupted(self) -> InterruptedLearning:
        """Keeps where the run stands, and says how to go on."""
        self._save(force=True)
        if self.kept.path is None:
            return InterruptedLearning(
                f"learning {self.target.name!r} was interrupted and nothing was kept; give "
                f"checkpoint=FILE to be able to resume"
            )
        return InterruptedLearning(
            f"learning {self.target.name!r} was interrupted; it stands in {self.kept.path}: call "
            f"again with resume=True (posterion run ... --resume) to go on from there"
        )

    # Parts ----------------------------------------------------------------------------------

    def _scout(self, bar: Progress, start: Posterior | None) -> tuple[Ground, Witness]:
        began = time.perf_counter()
        bar.update(description=f"scouting {self.target.name}", completed=0, total=1.0)
        frame, calls, searched = first_frame(self.target, self.seed)
        if "scouted" in self.note:
            found = Scouted(u=self.arrays["u"], value=self.arrays["value"], **self.note["scouted"])
        else:
            particles = self.method.particles if self.target.has_gradient else 1000
            found, pool = survey(
                self.target,
                frame,
                particles=particles,
                seed=self.seed,
                on_stage=lambda beta, used: bar.update(completed=beta, calls=used),
            )
            values = asdict(found)
            self.arrays |= {"u": values.pop("u"), "value": values.pop("value"), **pool}
            self.note["scouted"] = values
            self._mark()
            self._save(force=True)
        pool = {k: v for k, v in self.arrays.items() if k.startswith("pool_")}
        ground = lay_out(
            self.target, frame, found, calls, searched, whiten=self.method.whiten, pool=pool
        )
        if start is not None:
            ground = adopt(ground, start.frame, frame)
        self.scouting = time.perf_counter() - began
        evidence = Estimate(found.log_evidence, found.error)
        x = x_of(frame, found.u)
        return ground, Witness(x, evidence, found.ancestors, ground.modes, frame)

    def _start(
        self, number: int, kinds: list[str], ground: Ground, start: Posterior | None, best: Any
    ) -> Flow:
        """The flow before the steps; where a mixture is ahead of it, the mixture's turn comes."""
        kind = kinds[number]
        if kind == "start" and start is not None:
            return start.flow
        if kind in _GOES_ON:
            return best[2].flow
        began = time.perf_counter()
        flow = first_flow(ground, self.method, kind, self.seed)
        if self.method.pretrain:
            flow = pretrain(flow, ground.v, self.method, self.seed)
            rival = isinstance(flow.base, Normal) and kinds[number + 1 : number + 2] == ["mixture"]
            if rival and predicts_better(ground.v, flow, COMPONENTS, seed=self.seed):
                kinds[number : number + 2] = ["mixture", "again"]
                self.note["kinds"] = kinds
                return self._start(number, kinds, ground, start, best)
        self.record.seconds += time.perf_counter() - began
        return flow

    def _attempt(
        self,
        number: int,
        kinds: list[str],
        ground: Ground,
        bar: Progress,
        start: Posterior | None,
        best: Any,
    ) -> tuple[Flow, str]:
        bar.update(description=f"learning {self.target.name}", completed=0, total=1)
        flow = self._start(number, kinds, ground, start, best)
        kind, method = kinds[number], self.method
        if kind == "tail":
            method = replace(method, steps=max(SEGMENT, method.steps // _TAIL_SHARE))

        def on_segment(
            step: int, steps: int, record: Record, state: Trained, met: Mapping[str, Any] = _NOTHING
        ) -> bool | None:
            row = record.rows[-1]
            bar.update(
                completed=step, total=steps, loss=row["loss"], ess=row["ess"], calls=record.calls
            )
            self.arrays |= {**leaves_of(state, "state"), **met}
            self.note["step"] = step
            early = step == steps // _EARLY // SEGMENT * SEGMENT
            if early and kinds[number + 1 : number + 2] == ["mixture"] and not record.on_its_way():
                began, model = time.perf_counter(), eqx.combine(state.params, trainable(flow)[1])
                lost, calls = hopeless(self.target, model, ground.frame, ground.v, seed=seed)
                record.checking += calls
                record.checking_seconds += time.perf_counter() - began
                if lost:
                    return False
            self._mark()
            self._save()
            return None

        seed = self.seed + 7919 * (number + 1)
        given = (self.target, ground, method, self.limits, self.record, seed)
        resumed = None
        if "step" in self.note:
            resumed = (int(self.note["step"]), dict(self.arrays))
        if not self.target.has_gradient:
            return fit_values(flow, *given, on_segment=on_segment, resumed=resumed)
        rate = self.method.rate * (0.5 if kind in (*_GOES_ON, "start") else 1.0)
        flow, stop = descend(flow, *given, rate=rate, on_segment=on_segment, resumed=resumed)
        return settle(flow, self.target, ground, self.limits, self.record, seed), stop

    def _best_so_far(self, ground: Ground, witness: Witness, start: Posterior | None) -> Any:
        kept = self.note.get("best")
        if kept is None:
            return None
        kind = kept["built"]
        like = first_flow(ground, self.method, kind, self.seed)
        if kind == "start" and start is not None:
            like = start.flow
        flow = restore(like, "best", self.arrays)
        posterior = self._assemble(flow, ground, witness, kept["stop"])
        return kept["score"], kind, posterior

    def _assemble(self, flow: Flow, ground: Ground, witness: Witness, stop: str) -> Posterior:
        """The posterior with its health measured."""
        record, found = self.record, ground.scouted
        blank = Posterior(
            name=self.target.name,
            parameters=self.target.described_parameters,
            flow=flow,
            frame=ground.frame,
            health=assess(Findings(name=self.target.name)),
            log_evidence=Estimate(np.nan),
            history=record.history(),
            settings={**plain(self.method), "seed": self.seed, "budget": self.limits.calls},
            versions=versions(),
            citations=CITATIONS,
            provenance={
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seed": self.seed,
                "measure": [*self.target.measure(), *ground.searched],
                "python": platform.python_version(),
                "machine": f"{platform.machine()}, {usable_cores()} cores",
            },
            target=self.target,
        )
        total = ground.calls + record.calls
        notes = []
        if record.skipped:
            notes.append(f"{record.skipped} steps with a gradient that was not finite were skipped")
        if not self.target.has_gradient:
            notes.append("the density is plain code: learned from its values, without gradients")
        health = measure(
            blank,
            self.target,
            witness,
            draws=self.method.check_draws,
            seed=self.seed + 104_729,
            calls=self._calls(ground),
            seconds=self._seconds(),
            stop=stop,
            counted=NonFinite(
                total, found.not_finite + record.not_finite, 0, found.excluded + record.excluded
            ),
            searched=ground.searched,
            notes=tuple(notes),
            chains=self.method.chains,
        )
        evidence = health.evidence if health.evidence is not None else Estimate(np.nan)
        return replace(blank, health=health, log_evidence=evidence)

    def _calls(self, ground: Ground) -> dict[str, int]:
        """Of all attempts so far."""
        record = self.record
        return {"scouting": ground.calls, "learning": record.calls, "health": record.checking}

    def _seconds(self) -> dict[str, float | int]:
        """Of all attempts so far."""
        record = self.record
        return {
            "scouting": self.scouting,
            "learning": record.seconds,
            "compiling": record.compiling,
            "health": record.checking_seconds,
        }

    def _mark(self) -> None:
        """What the record says belongs to the arrays at hand: only here, never in between."""
        self.note["record"] = asdict(self.record)

    def _save(self, *, force: bool = False) -> None:
        now = time.perf_counter()
        if self.kept.path is None or not (force or now - self.saved > _SAVE_EVERY):
            return
        self.kept.save(self.note, self.arrays)
        self.saved = now
