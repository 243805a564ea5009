"""Chains of the exact density: parted, thinned, and what they are worth."""

import math
from dataclasses import replace

from posterion.sampling import sample_chain
from posterion.sampling.chain import Chain
from posterion.targets.target import Target

CHAINS, WARMUP = 256, 400


def sampled(target: Target, draws: int, *, seed: int) -> Chain:
    """At least so many draws of the exact density, by parallel chains."""
    length = -(-draws // CHAINS)
    return sample_chain(
        target, draws=length, warmup=WARMUP, chains=CHAINS, sampler="parallel", seed=seed
    )


def split(chain: Chain, train: int) -> tuple[Chain, Chain]:
    """The chains from which flows learn, and the others, held out."""
    first = min(chain.chains - 1, max(1, round(train / chain.length)))
    return _chains(chain, slice(first)), _chains(chain, slice(first, None))


def thinned(chain: Chain) -> Chain:
    """As many draws as the chain is worth: the floor of a comparison needs independent ones."""
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
