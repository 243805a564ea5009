"""Sampling: Markov chains, sequential Monte Carlo, and where to look in the first place.

- `chains`, `chain`, `hamiltonian`: NUTS and HMC on a target, and what they give
- `smc`: sequential Monte Carlo with gradients; `ensemble`: without, economical in calls
- `scales`: the reference measure of parameters that came with none
- `profiling`: best fits, profiles of a coordinate, confidence intervals
- `importance`, `mixture_fit`: their tools
"""

from posterion.sampling.chain import Chain
from posterion.sampling.chains import cross_check, sample_chain
from posterion.sampling.ensemble import Pool, scout_plain, scout_with_pool
from posterion.sampling.profiling import Profile, profile
from posterion.sampling.scales import Scales, find_scales
from posterion.sampling.smc import Scouted, scout

__all__ = [
    "Chain",
    "Pool",
    "Profile",
    "Scales",
    "Scouted",
    "cross_check",
    "find_scales",
    "profile",
    "sample_chain",
    "scout",
    "scout_plain",
    "scout_with_pool",
]
