"""Chains of the exact density: parted, thinned, and what they are worth."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError
from posterion.sampling import sample_chain
from posterion.sampling.chain import Chain
from posterion.targets.target import Target

Floats = NDArray[np.float64]

CHAINS, WARMUP = 256, 400
_FEWEST = 500  # that a comparison takes
_EACH = 3  # positions of a chain to an independent draw, about


def sampled(target: Target, draws: int, *, seed: int) -> Chain:
    """Chains of the exact density that `split` takes about so many independent draws from."""
    length = -(-_EACH * draws // CHAINS)
    return sample_chain(
        target, draws=length, warmup=WARMUP, chains=CHAINS, sampler="parallel", seed=seed
    )


def split(chain: Chain, train: int, held_out: int) -> tuple[Floats, Chain]:
    """Independent draws: ``train`` of some chains ``(train, dim)``, and the others, held out.

    Where the chains are worth less than was asked for, both get their share.

    Raises:
        SampleError: those held out are worth too few draws to compare with.
    """
    worth, chain = min(effective(chain)), thinned(chain)
    share = -(-chain.chains * train // (train + held_out))
    first = max(1, min(chain.chains - 1, share, -(-train // chain.length)))
    rows, held = _chains(chain, slice(first)).flat()[:train], _chains(chain, slice(first, None))
    if held.chains * held.length < _FEWEST:
        raise SampleError(
            f"the chains are worth {worth:.0f} independent draws of their worst coordinate (R-hat "
            f"{np.max(chain.r_hat):.3f}): too few to hold {_FEWEST} out and compare with; give "
            "longer ones by train and held_out, or look for a far tail or a second mode"
        )
    return rows, held


def thinned(chain: Chain) -> Chain:
    """As many draws as the chain is worth: correlated positions tell flows and floors less."""
    step = max(1, math.ceil(chain.chains * chain.length / min(effective(chain))))
    return _chains(chain, slice(None), slice(None, None, step))


def effective(chain: Chain) -> tuple[float, float]:
    """Effective draws of the worst coordinate: of its values, of their squared deviations.

    From how much the means of the chains differ: with many chains no autocorrelation is needed.
    """
    x = chain.x - chain.x.mean(axis=(0, 1))
    n = chain.chains * chain.length
    found = []
    for values in (x, x**2):
        means = values.mean(axis=1)
        found.append(n * values.var(axis=(0, 1)) / (chain.length * means.var(axis=0, ddof=1)))
    return float(found[0].min()), float(found[1].min())


def _chains(chain: Chain, which: slice, draws: slice = slice(None)) -> Chain:
    statistics = {k: v[which, draws] for k, v in chain.statistics.items()}
    return replace(
        chain,
        x=chain.x[which, draws],
        log_density=chain.log_density[which, draws],
        statistics=statistics,
        step_size=chain.step_size[which],
    )
