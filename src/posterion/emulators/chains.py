"""Chains of networks: warmed up, drawn in compiled segments, kept on disk as they grow.

Each transition's randomness comes from its number, so that neither the length of a segment nor an
interruption changes a bit. On a CPU one chain follows the other inside the program, on other
devices they move side by side.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PRNGKeyArray

from posterion.core.errors import CheckpointError, DensityError, SettingError
from posterion.emulators.density import Data, Joint, Posterior
from posterion.emulators.kernels import Kernel, Tuning
from posterion.emulators.recording import Recording
from posterion.emulators.sharding import everywhere, first_process, must_agree, of_first
from posterion.optimisation.checkpoint import leaves_of, restore

_SECONDS = 1.0  # of a segment, about
_SAVE_EVERY = 10.0
_BUFFER = 1 << 21  # numbers of the draws of a segment, of each chain


class Moments(NamedTuple):
    """Running mean and sum of squared deviations of the positions of a window."""

    count: Array
    mean: Array
    squares: Array


class _Walker(NamedTuple):
    """One chain between two transitions, or several stacked."""

    state: Any
    tuning: Tuning
    moments: Moments


@dataclass(frozen=True)
class Walked:
    """What chains of networks give.

    Attributes:
        theta: vectors, (chains, draws, dim), float32.
        log_density: of them, (chains, draws).
        statistics: (chains, draws) each, over the transitions since the draw before: energy of the
            last, acceptance_rate, gradients, diverging.
        tuning: of each chain after the warmup; None where there was no chain.
        gradients, warmup_gradients: evaluated by all chains.
        seconds: of this call.
        complete: whether the time sufficed.
    """

    theta: np.ndarray
    log_density: np.ndarray
    statistics: dict[str, np.ndarray]
    tuning: Tuning | None
    gradients: int
    warmup_gradients: int
    seconds: float
    complete: bool


def walk_networks(
    joint: Joint,
    data: Data,
    starts: np.ndarray,
    kernel: Kernel,
    *,
    draws: int,
    warmup: int,
    thin: int = 1,
    seed: int = 0,
    path: str | Path | None = None,
    resume: bool = False,
    identity: dict[str, Any] | None = None,
    max_seconds: float | int | None = None,
    on_wake: Callable[[int, int], None] | None = None,
) -> Walked:
    """One chain from each start.

    Args:
        joint: the density of a vector.
        data: that it is given.
        starts: (chains, dim); the density is finite there.
        kernel: how chains move.
        draws: vectors kept of each chain.
        warmup: transitions before, that tune the kernel.
        thin: transitions for each draw.
        seed: integer seed.
        path: file in which the chains are kept as they grow.
        resume: go on from that file, if it is there.
        identity: what the run is, beside the numbers here; the file of another is refused.
        max_seconds: stop after about as many seconds.
        on_wake: called with the transitions done of each chain and the gradients so far.

    Returns:
        The draws; fewer where the time ended.

    Raises:
        DensityError: the density or its gradient is not finite at a start.
        SettingError: numbers out of range, or processes that do not begin at the same place.
        CheckpointError: the file is of another run, or unreadable.
    """
    check_walk(draws, warmup, thin, path, resume)
    if starts.ndim != 2 or starts.shape[1] != joint.dim:
        raise SettingError(f"starts must be (chains, {joint.dim}), got {starts.shape}")
    run = _Run(joint, data, starts, kernel, draws, warmup, thin, seed)
    known = dict(identity or {}) | run.identity()
    run.recording = Recording(path, known, writes=first_process(data.mesh))
    began = time.monotonic()
    recalled = resume and run.recall()
    must_agree(
        data.mesh,
        "where their chains begin: they need machines alike and, to resume, all see the same file",
        *(starts, run.done, draws, max_seconds is None),
    )
    if not recalled:
        run.recording.begin()
    complete = run.go(None if max_seconds is None else began + max_seconds, on_wake)
    return run.result(time.monotonic() - began, complete)


def check_walk(draws: int, warmup: int, thin: int, path: str | Path | None, resume: bool) -> None:
    """Makes sure that chains can be walked with these; arguments as of `walk_networks`.

    Raises:
        SettingError: numbers out of range, or no file to go on from.
    """
    if draws < 1 or warmup < 0 or thin < 1:
        raise SettingError(
            f"chains need draws >= 1, warmup >= 0 and thin >= 1; got {draws}, {warmup}, {thin}"
        )
    if resume and path is None:
        raise SettingError("resume needs the file to go on from: give its path")


def windows(warmup: int) -> list[tuple[int, bool]]:
    """Ends of the windows of a warmup, and whether the tuning is renewed there (Stan's)."""
    from blackjax.adaptation.window_adaptation import build_schedule

    if warmup == 0:
        return []
    schedule = np.asarray(build_schedule(warmup)).reshape(-1, 2)
    renewed = set((np.flatnonzero(schedule[:, 1]) + 1).tolist())
    phases = set((np.flatnonzero(np.diff(schedule[:, 0])) + 1).tolist())
    return [(end, end in renewed) for end in sorted(renewed | phases | {warmup})]


def capacity(dim: int) -> int:
    """Draws of a segment, at most, of vectors of that length."""
    return int(np.clip(_BUFFER // dim, 8, 1024))


class _Run:
    """Where the chains stand between two segments."""

    def __init__(
        self,
        joint: Joint,
        data: Data,
        starts: np.ndarray,
        kernel: Kernel,
        draws: int,
        warmup: int,
        thin: int,
        seed: int,
    ):
        self.joint, self.data, self.kernel = joint, data, kernel
        self.draws, self.warmup, self.thin, self.seed = draws, warmup, thin, seed
        self.chains, self.dim = starts.shape
        key = jax.random.key(seed)  # a chain's own does not depend on how many there are
        self.keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(self.chains))
        self.ends = windows(warmup)
        self.capacity = capacity(self.dim)
        self.walker = _begin(joint, data, kernel, jnp.asarray(starts, jnp.float32), self.keys)
        state = self.walker.state
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state)):
            raise DensityError(
                "the log-density of the network or its gradient is not finite at a start of the "
                "chains: look at the scales of inputs and targets"
            )
        self.done = 0  # transitions, warmup included
        self.gradients = self.warmup_gradients = 0
        self.kept: list[dict[str, np.ndarray]] = []
        self.unsaved: list[dict[str, np.ndarray]] = []
        self.saved = time.monotonic()
        self.pace = 0.0
        self.recording = Recording(None, {})

    def identity(self) -> dict[str, Any]:
        """By which a file is known to be of this run."""
        return {
            "kernel": repr(self.kernel),
            "chains": self.chains,
            "dim": self.dim,
            "warmup": self.warmup,
            "thin": self.thin,
            "seed": self.seed,
        }

    def go(self, until: float | None, on_wake: Callable[[int, int], None] | None) -> bool:
        """Runs to the end, or until the time is over; whether it came to the end."""
        last = self.warmup + self.draws * self.thin
        while self.done < last:
            warming = self.done < self.warmup
            end, renew = next((w for w in self.ends if w[0] > self.done), (last, False))
            self._segment(end, warming)
            if self.done == end and renew:
                self.walker = _renewed(self.kernel, self.walker)
            if self.done == self.warmup:
                self.walker = _settled(self.kernel, self.walker)
            if on_wake is not None:
                on_wake(self.done, self.gradients + self.warmup_gradients)
            late = until is not None and bool(of_first(self.data.mesh, time.monotonic() > until))
            if late or self.done == last or time.monotonic() - self.saved > _SAVE_EVERY:
                self._save()
            if late and self.done < last:
                return False
        return True

    def _segment(self, end: int, warming: bool) -> None:
        # In whole draws, so that thinning does not depend on where segments end.
        each = 1 if warming else self.thin
        most = max(1, int(self.pace * _SECONDS) // each) if self.pace else 1
        most = of_first(self.data.mesh, most)
        count = min((end - self.done) // each, most, 10**6 if warming else self.capacity) * each
        began = time.monotonic()
        self.walker, records = _advance(
            self.joint,
            self.data,
            self.kernel,
            self.walker,
            self.keys,
            jnp.asarray([self.done, count, each, int(warming)]),
            self.capacity,
        )
        made = 0 if warming else count // each
        spent = int(np.asarray(records["gradients"]).sum())
        if warming:
            self.warmup_gradients += spent
        else:
            self.gradients += spent
            # Copied, as a view of a few draws would hold the whole segment's buffer.
            self.unsaved.append({k: np.asarray(a)[:, :made].copy() for k, a in records.items()})
        self.done += count
        self.pace = count / max(time.monotonic() - began, 1e-6)

    def _save(self) -> None:
        note = {
            "done": self.done,
            "gradients": self.gradients,
            "warmup_gradients": self.warmup_gradients,
        }
        if self.recording.path is not None:
            arrays = leaves_of(self.walker, "walker")
            if self.unsaved:
                arrays |= {f"draws.{k}": a for k, a in _joined(self.unsaved).items()}
            self.recording.append(note, arrays)
        self.kept += self.unsaved
        self.unsaved, self.saved = [], time.monotonic()

    def recall(self) -> bool:
        """Takes up what the file holds; whether it held anything."""
        blocks = self.recording.load()
        for _, arrays in blocks:
            piece = {k.removeprefix("draws."): a for k, a in arrays.items() if k[:6] == "draws."}
            if piece:
                self.kept.append(piece)
        if not blocks:
            return self.recording.path is not None and self.recording.path.exists()
        note, arrays = blocks[-1]
        self.walker = restore(self.walker, "walker", arrays)
        self.done = note["done"]
        self.gradients, self.warmup_gradients = note["gradients"], note["warmup_gradients"]
        if self.done > self.warmup + self.draws * self.thin:
            raise CheckpointError(
                f"{self.recording.path} holds more draws than the {self.draws} asked for"
            )
        return True

    def result(self, seconds: float, complete: bool) -> Walked:
        """The draws so far."""
        pieces = self.kept + self.unsaved
        shape = (self.chains, 0)
        whole = _joined(pieces) if pieces else {"theta": np.zeros((*shape, self.dim), np.float32)}
        theta = whole.pop("theta")
        log_density = whole.pop("log_density", np.zeros(shape, np.float32))
        tuning = jax.tree.map(np.asarray, self.walker.tuning)
        counted = self.gradients, self.warmup_gradients
        return Walked(theta, log_density, whole, tuning, *counted, seconds, complete)


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.concatenate([piece[k] for piece in pieces], axis=1) for k in pieces[0]}


def _over_chains(function: Callable[..., Any], *stacked: Any) -> Any:
    if jax.default_backend() == "cpu":
        return lax.map(lambda one: function(*one), stacked)
    return jax.vmap(function)(*stacked)


def _no_moments(dim: int) -> Moments:
    return Moments(jnp.zeros(()), jnp.zeros(dim), jnp.zeros(dim))


@eqx.filter_jit
def _begin(joint: Joint, data: Data, kernel: Kernel, starts: Array, keys: Array) -> _Walker:
    density = Posterior.of(joint, data)

    def one(theta: Array, key: PRNGKeyArray) -> _Walker:
        state = kernel.begin(density, theta, jax.random.fold_in(key, 2**31 - 1))
        return _Walker(state, kernel.start(density), _no_moments(joint.dim))

    return everywhere(data.mesh, _over_chains(one, starts, keys))


@eqx.filter_jit
def _renewed(kernel: Kernel, walker: _Walker) -> _Walker:
    def one(walker: _Walker) -> _Walker:
        count, mean, squares = walker.moments
        tuning = kernel.renew(walker.tuning, mean, squares / jnp.maximum(count - 1, 1), count)
        return _Walker(walker.state, tuning, jax.tree.map(jnp.zeros_like, walker.moments))

    return jax.vmap(one)(walker)


@eqx.filter_jit
def _settled(kernel: Kernel, walker: _Walker) -> _Walker:
    return walker._replace(tuning=jax.vmap(kernel.settle)(walker.tuning))


@eqx.filter_jit
def _advance(
    joint: Joint,
    data: Data,
    kernel: Kernel,
    walker: _Walker,
    keys: Array,
    numbers: Array,
    capacity: int,
) -> tuple[_Walker, dict[str, Array]]:
    """A segment of each chain; ``numbers``: first transition, count, those of a draw, warming."""
    first, count, each, warming = numbers
    density = Posterior.of(joint, data)

    def one(walker: _Walker, key: PRNGKeyArray) -> tuple[_Walker, dict[str, Array]]:
        line = jnp.zeros(capacity, jnp.float32)
        records = {
            "theta": jnp.zeros((capacity, joint.dim), jnp.float32),
            "log_density": line,
            "energy": line,
            "acceptance_rate": line,
            "gradients": jnp.zeros(capacity, jnp.int32),
            "diverging": jnp.zeros(capacity, jnp.int32),
        }

        def transition(i: Array, carry: tuple[_Walker, dict[str, Array]]) -> Any:
            (before, tuning, moments), records = carry
            of_move = jax.random.fold_in(key, first + i)
            state, info = kernel.transition(density, of_move, before, tuning)
            tuning = lax.cond(
                warming == 1,
                lambda: kernel.adapt(density, jax.random.fold_in(of_move, 1), state, tuning, info),
                lambda: tuning,
            )
            seen = moments.count + 1
            shift = state.position - moments.mean
            mean = moments.mean + shift / seen
            moments = Moments(seen, mean, moments.squares + shift * (state.position - mean))
            slot = jnp.minimum(i // each, capacity - 1)
            records = {
                "theta": records["theta"].at[slot].set(state.position),
                "log_density": records["log_density"].at[slot].set(state.logdensity),
                "energy": records["energy"].at[slot].set(info.energy),
                "acceptance_rate": records["acceptance_rate"].at[slot].add(info.acceptance / each),
                "gradients": records["gradients"].at[slot].add(info.gradients),
                "diverging": records["diverging"].at[slot].add(info.divergent),
            }
            return _Walker(state, tuning, moments), records

        return lax.fori_loop(0, count, transition, (walker, records))

    return everywhere(data.mesh, _over_chains(one, walker, keys))
