"""The cases: a simulator with its prior, the exact posterior of what it gives, and flows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.distributions import Flow, summarised
from posterion.distributions import families as flows
from posterion.networks import deep_set, mlp, set_attention
from posterion.studies.amortised import epidemic, moons, sets
from posterion.studies.amortised.options import Settings
from posterion.targets.parameter import Parameter

__all__ = ["Case", "cases"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """One case.

    Attributes:
        name: of its figures and files.
        title: of its section.
        about: a sentence or two.
        parameters: without priors: simulations follow them already.
        simulated: of how many, and what draws: parameters and what they produce, a row each.
        posterior: draws of the exact posterior of one row, of how many.
        context: what the flow sees of rows.
        flows: of a seed, by the name of the network; the first has the name of the case.
        settings: of `posterion.fit`.
        longer: how many times the epochs of other cases it takes.
    """

    name: str
    title: str
    about: str
    parameters: tuple[Parameter, ...]
    simulated: Callable[[int, np.random.Generator], tuple[Floats, Floats]]
    posterior: Callable[[Floats, int, np.random.Generator], Floats]
    context: Callable[[Floats], Floats]
    flows: Mapping[str, Callable[[int], Flow]]
    settings: Mapping[str, Any]
    longer: int = 1

    def file(self, network: str) -> str:
        """The name of what a network learned."""
        return self.name if network == next(iter(self.flows)) else f"{self.name} {network}"

    def theta(self, rows: Floats) -> dict[str, Floats]:
        """Rows of parameters by name."""
        return {p.name: rows[:, i] for i, p in enumerate(self.parameters)}


def cases(settings: Settings) -> list[Case]:
    """Those that were asked for."""
    made = {"two-moons": _moons, "sir": _sir, "sets": _sets}
    return [f(settings) for name, f in made.items() if settings.case in ("all", name)]


def _moons(settings: Settings) -> Case:
    def flow(seed: int) -> Flow:
        own = flows.neural_autoregressive(
            2, context_dim=16, transforms=3, hidden=(64, 64), activation="silu", seed=seed
        )
        return summarised(own, mlp((64, 64), "silu"), width=2, seed=seed)

    return Case(
        "two-moons",
        "Two moons",
        "Two parameters, two numbers, and a posterior of two thin crescents (Lueckmann "
        "et al., 2101.04653). The exact posterior is drawn from by turning the noise around.",
        tuple(Parameter(f"theta_{i}", label=rf"\theta_{i}", lower=-1.0, upper=1.0) for i in (1, 2)),
        moons.simulated,
        moons.posterior,
        np.asarray,
        {"perceptron": flow},
        {"batch": 256, "rate": 2e-3, "average": 0.998},
        longer=3,
    )


def _sir(settings: Settings) -> Case:
    def flow(seed: int) -> Flow:
        own = flows.neural_autoregressive(
            2, context_dim=16, hidden=(64, 64), activation="silu", seed=seed
        )
        return summarised(own, mlp((128, 128), "silu"), width=10, seed=seed)

    return Case(
        "sir",
        "An epidemic",
        "Contact and recovery rate of an epidemic from ten counts of the infected among a thousand "
        "people (Lueckmann et al., 2101.04653). The exact posterior is by quadrature.",
        (
            Parameter("beta", unit="1/day", label=r"\beta", lower=0.0),
            Parameter("gamma", unit="1/day", label=r"\gamma", lower=0.0),
        ),
        epidemic.simulated,
        epidemic.posterior,
        epidemic.summarised,
        {"perceptron": flow},
        {"batch": 512, "rate": 2e-3},
    )


def _sets(settings: Settings) -> Case:
    points = settings.points

    def flow(network: Any, seed: int) -> Flow:
        own = flows.neural_autoregressive(
            2, context_dim=8, hidden=(64, 64), activation="silu", seed=seed
        )
        return summarised(own, network(points, 1), seed=seed)

    def simulated(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        return sets.simulated(n, points, rng)

    attention = partial(set_attention, width=16, heads=2, blocks=1)
    return Case(
        "sets",
        "Sets of measurements",
        f"Mean and spread of a normal from 2 to {points} draws of it, whose order says nothing. "
        "The prior is conjugate, the exact posterior of the same kind.",
        (Parameter("mu", label=r"\mu"), Parameter("sigma", label=r"\sigma", lower=0.0)),
        simulated,
        sets.posterior,
        np.asarray,
        {"deep set": partial(flow, deep_set), "attention": partial(flow, attention)},
        {"batch": 512, "rate": 1e-3},
    )
