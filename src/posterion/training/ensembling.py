"""``ensemble``: as many fits as asked, so that every figure comes with its error."""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.core.progress import progress
from posterion.sampling.chain import Chain
from posterion.targets.target import Target
from posterion.training.ensembles import Ensemble
from posterion.training.fit import fit
from posterion.training.losses import Learnable
from posterion.training.ranges import said_once
from posterion.training.self_learning import learn

__all__ = ["bootstrap_weights", "ensemble"]

_MANY_CHAINS, _FEWEST_BLOCKS = 32, 20
_TIMES = 5  # a block's length in autocorrelation times


def ensemble(
    source: Learnable | Target | Callable[[int], Learnable],
    samples: Any = None,
    *,
    members: int = 8,
    bootstrap: bool = True,
    seed: int = 0,
    weights: Any = None,
    quiet: bool | None = None,
    **options: Any,
) -> Ensemble:
    """Fits a flow several times, or learns a density several times, for the errors of the result.

    With samples each member sees a bootstrap of them (Efron, Ann. Stat. 7, 1 (1979)): rows drawn
    with replacement, whole chains or long blocks of chains, as weights. It also has its own seed,
    for another order of the batches; the held-out rows are the same. The spread of the members is
    then the error that few samples and training leave in one fit. Without ``bootstrap``, or of a
    density, it is that of training alone. All members of one flow share its compiled programs.

    Args:
        source: a flow as for `posterion.fit`; or a function of a seed that makes one, so that
            members start from different parameters; or a target as for `posterion.learn`.
        samples: as for `posterion.fit`; none with a target.
        members: how many.
        bootstrap: whether samples are drawn anew for each.
        seed: of the first member; the next ones follow.
        weights: of the samples, as for `posterion.fit`.
        quiet: no progress bar.
        options: of `posterion.fit` or `posterion.learn`, for every member.

    Returns:
        The ensemble: ``summary()``, ``interval(name)`` and ``profile(name)`` come with errors.

    Raises:
        SettingError: fewer than two members, options that have no place here, samples and a target.
        SampleError: too few rows or blocks of chains for a bootstrap.
    """
    if members < 2:
        raise SettingError(f"an ensemble takes at least two members, not {members}")
    if out_of_place := sorted({"checkpoint", "resume"} & set(options)):
        raise SettingError(
            f"an ensemble takes no {', '.join(out_of_place)}: fit its members one by one, with "
            "weights=bootstrap_weights(samples, seed=...), and join them by Ensemble.of"
        )
    if isinstance(source, Target):
        if samples is not None or weights is not None:
            raise SettingError("a target is learned without samples; give a flow to fit them")
        how = "by their seeds"
    else:
        if samples is None:
            raise SettingError("an ensemble of fits needs samples")
        how = "by their seeds"
        if bootstrap:
            samples, weights = _weights_beside(samples, weights)
            how = f"by their seeds and by a bootstrap of {_units(samples)}"
    found = []
    with progress("ensemble", total=members, quiet=quiet) as bar:
        for i in range(seed, seed + members):
            if isinstance(source, Target):
                found.append(learn(source, seed=i, quiet=True, **options))
            else:
                options.setdefault("split", seed)
                flow = source if isinstance(source, Learnable) else source(i)
                own = weights
                if bootstrap:
                    own = bootstrap_weights(samples, weights=weights, seed=i)
                with said_once(None, None) if found else nullcontext():
                    found.append(fit(flow, samples, weights=own, seed=i, quiet=True, **options))
            bar.update(len(found))
    known = {"seed": seed, "members": members, "bootstrap": bool(bootstrap and samples is not None)}
    return Ensemble.of(found, how=how, provenance={**found[0].provenance, **known})


def bootstrap_weights(samples: Any, *, weights: Any = None, seed: int) -> NDArray[np.float64]:
    """How often each row comes up when as many are drawn with replacement, ``(n,)``.

    Of a chain whole chains are drawn if there are at least 32, otherwise blocks of each chain of
    five autocorrelation times: neighbours in a chain are no independent draws.

    Args:
        samples: an array ``(n, dim)``, a dict of arrays, a DataFrame, or a chain.
        weights: ``(n,)``, of the rows, which the counts multiply.
        seed: of the drawing.

    Raises:
        SampleError: fewer than 20 blocks.
    """
    rng = np.random.default_rng([seed, 62])
    if isinstance(samples, Chain):
        block = _blocks(samples)
        size = int(block.max()) + 1
    else:
        size = _rows(samples)
        block = np.arange(size)
    counts = np.bincount(rng.integers(size, size=size), minlength=size).astype(np.float64)[block]
    if weights is None:
        return counts
    own = np.asarray(weights, np.float64)
    if own.shape != counts.shape:
        raise SampleError(f"weights of shape {own.shape} for {counts.shape[0]} rows")
    return counts * own


def _blocks(chain: Chain) -> NDArray[np.intp]:
    """The number of the block that each draw belongs to, ``(chains * draws,)``."""
    length, each = chain.length, 1
    if chain.chains < _MANY_CHAINS:
        effective = chain.effective
        time = chain.chains * length / effective if effective > 0 else math.inf
        each = int(max(1, length // (_TIMES * max(time, 1.0))))
    if chain.chains * each < _FEWEST_BLOCKS:
        raise SampleError(
            f"{chain.chains} chains of {length} draws, worth {chain.effective:.0f}, make "
            f"{chain.chains * each} blocks; a bootstrap takes at least {_FEWEST_BLOCKS}: run more "
            "chains, or longer ones"
        )
    within = np.minimum(np.arange(length) * each // length, each - 1)
    return (np.arange(chain.chains)[:, None] * each + within).reshape(-1)


def _rows(samples: Any) -> int:
    if isinstance(samples, Mapping) or hasattr(samples, "columns"):
        return len(samples[next(iter(samples))])
    return len(samples)


def _units(samples: Any) -> str:
    if not isinstance(samples, Chain):
        return f"{_rows(samples)} rows"
    blocks = int(_blocks(samples).max()) + 1
    return f"{blocks} {'chains' if blocks == samples.chains else 'blocks of chains'}"


def _weights_beside(samples: Any, weights: Any) -> tuple[Any, Any]:
    """Samples without the column of their weights, and the weights as an array."""
    if isinstance(samples, str | Path) or (
        isinstance(samples, list | tuple) and isinstance(samples[0], str | Path)
    ):
        raise SettingError(
            "a bootstrap weighs rows in memory: give the table itself, or bootstrap=False"
        )
    if not isinstance(weights, str):
        return samples, weights
    table = {str(name): np.asarray(samples[name]) for name in samples}
    if weights not in table:
        raise ThetaError(f"there is no column {weights!r}; known: {', '.join(table)}")
    column = table.pop(weights)
    return table, column
