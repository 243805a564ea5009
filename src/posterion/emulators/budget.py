"""What an emulation takes of memory, and what to say before it begins where that is not there."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posterion.core.errors import SettingError
from posterion.core.memory import in_words, may_take
from posterion.emulators.approximation import Approximation
from posterion.emulators.assessing import PROBES
from posterion.emulators.chains import capacity
from posterion.emulators.density import CHUNK, Data, Joint
from posterion.emulators.predicting import ROWS

_LEAST = 64  # rows of a chunk: below it the program is slow, and weights take more than activations
_ADAM = 9  # vectors of a network: weights, best ones, two moments, their successors, slopes
_CHAIN = 16  # vectors of a chain: state, tuning, moments, and a transition's own
_PROGRAMS = 200_000_000  # bytes of what is compiled, and of compiling it
_PEAK = 1.5  # of what a gradient keeps, in units of that


@dataclass(frozen=True)
class Need:
    """Bytes that an emulation holds at its fullest, about.

    Attributes:
        fixed: whatever the chains are: of the training rows, which are held twice, and of programs.
        training: of Adam, for each chain: its vectors, and the activations of a batch.
        walking: of the sampler, for each chain: its vectors, and the draws of a segment.
        activation: of a row of a chunk.
        together: whether all chains hold a chunk's activations at once.
        draw: of a draw of one chain: twice its vector, and what the health asks of it.
    """

    fixed: int
    training: int
    walking: int
    activation: int
    together: bool
    draw: int

    def beside(self, chains: int, chunk: int) -> int:
        """All but the draws."""
        at_once = chains if self.together else 1
        walking = chains * self.walking + chunk * self.activation * at_once
        return self.fixed + max(chains * self.training, walking)

    def whole(self, chains: int, draws: int, chunk: int) -> int:
        """All."""
        return self.beside(chains, chunk) + chains * draws * self.draw


def check_networks(numbers: int, chains: int) -> None:
    """Makes sure that memory holds networks of so many numbers, before there is one.

    Raises:
        SettingError: it does not; the message names the bytes.
    """
    room, whole = _room(), 4 * _ADAM * numbers * chains
    if room is not None and whole > room:
        raise SettingError(
            f"{chains} networks of {numbers:,} numbers need {in_words(whole)} of memory in "
            f"training, {in_words(room)} may be taken: take fewer chains or a smaller network"
        )


def need_of(
    joint: Joint,
    x: np.ndarray,
    y: np.ndarray,
    quick: Approximation | None,
    *,
    chains: int,
    batch: int,
) -> Need:
    """What an emulation of these training rows needs.

    Args:
        joint: the density of a vector.
        x: rows (n, inputs), of which the shape alone counts.
        y: their targets (n, targets).
        quick: what there is in place of chains; None where there are chains.
        chains: that are asked for.
        batch: rows of a step of Adam.
    """
    vector, width = 4 * joint.dim, y.shape[1]
    small, large = (_kept(joint, rows, x.shape[1], width) for rows in (_LEAST, 2 * _LEAST))
    activation = math.ceil(_PEAK * (large - small) / _LEAST)
    fixed = _PROGRAMS + 2 * 4 * len(x) * (x.shape[1] + width)
    outputs = joint.likelihood.outputs(width)
    # The means at the probes and their ranks, or the four moments of a chunk of points.
    draw = 2 * vector + max((4 + 3 * 8) * PROBES, 4 * 4 * ROWS) * outputs
    walking = (_CHAIN + 2 * capacity(joint.dim)) * vector
    if quick is not None:  # one chain after the other, in double precision
        walking = vector
        fixed += 2 * vector * quick.path
        draw += 6 * vector // chains
    return Need(
        fixed=fixed,
        training=_ADAM * vector + min(batch, len(x)) * activation,
        walking=walking,
        activation=activation,
        together=jax.default_backend() != "cpu",
        draw=draw,
    )


def chunk_that_fits(need: Need, *, chains: int, draws: int, thin: int | None) -> int:
    """Rows of a chunk with which the emulation fits into memory: `CHUNK`, or fewer.

    Args:
        need: what it needs.
        chains: that are asked for.
        draws: of each.
        thin: transitions for each; None where there are none.

    Raises:
        SettingError: it does not fit; the message names the bytes, and what would.
    """
    room, chunk = _room(), CHUNK
    if room is None:
        return chunk
    while need.whole(chains, draws, chunk) > room and chunk > _LEAST:
        chunk //= 2
    whole = need.whole(chains, draws, chunk)
    if whole <= room:
        return chunk
    raise SettingError(
        f"{draws:,} draws of {chains} chains need about {in_words(whole)} of memory, of which "
        f"{in_words(need.beside(chains, chunk))} are for rows and training; {in_words(room)} may "
        f"be taken: {_instead(need, room, chains, draws, thin, chunk)}"
    )


def _room() -> int | None:
    """Bytes that may be taken, of the machine's and of the device's memory the fewer."""
    free = may_take()
    told = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in told:  # a CPU, whose memory is the machine's
        return free
    left = told["bytes_limit"] - told.get("bytes_in_use", 0)
    return left if free is None else min(left, free)


def _instead(need: Need, room: int, chains: int, draws: int, thin: int | None, chunk: int) -> str:
    """What would fit."""
    fewer = (room - need.beside(chains, chunk)) // (chains * need.draw)
    if fewer >= 1:
        if thin is None:
            return f"draws={fewer} would fit"
        longer = math.ceil(draws * thin / fewer)
        return f"draws={fewer} would fit, and with thin={longer} the chains go as far"
    for count in range(chains - 1, 0, -1):
        most = (room - need.beside(count, chunk)) // (count * need.draw)
        if most >= 1:
            return f"chains={count} with draws={min(draws, most)} would fit"
    return "one draw of one chain does not fit: take a smaller network, batch or table"


def _kept(joint: Joint, rows: int, inputs: int, targets: int) -> int:
    """Bytes that are kept on the way to the gradient of the log-likelihood of some rows."""

    def backward(theta: Any, x: Any, y: Any) -> Any:
        return jax.vjp(lambda vector: joint.of_chunk(vector, Data(x, y, None)), theta)[1]

    shapes = [(joint.dim,), (rows, inputs), (rows, targets)]
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    leaves = jax.tree.leaves(jax.eval_shape(backward, *given))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
