"""Plain NumPy densities without gradients, and worker processes for a slow one."""

import os
import sys
import time
from typing import Any

import numpy as np

from benchmarks.tables import SEEDS, markdown, spread, tell
from posterion.studies.neutrinos.learning import make_case
from posterion.studies.neutrinos.target import neutrino_target
from posterion.studies.stress.measuring import exact_ess
from posterion.studies.stress.targets import KnownTarget, known_target
from posterion.targets import Parameter, Target
from posterion.training import Posterior, learn

SLOW = 0.01


def banana(theta: dict[str, np.ndarray]) -> np.ndarray:
    """The banana of the stress targets, in NumPy."""
    a, b = theta["x"][:, 0], theta["x"][:, 1]
    log_norm = np.log(2 * np.pi) + np.log(0.3)
    return -0.5 * (a - 1) ** 2 - 0.5 * ((b - a**2) / 0.3) ** 2 - log_norm


def slow(theta: dict[str, Any]) -> float:
    """10 ms of work a call."""
    end = time.perf_counter() + SLOW
    while time.perf_counter() < end:
        pass
    return float(-0.5 * np.sum(theta["x"] ** 2))


def weigh(result: Posterior, seed: int, draws: int) -> tuple[float, float]:
    """ESS/N of fresh draws, and the log evidence."""
    weighted = result.importance_sample(draws, seed=seed + 500_009)
    return weighted.ess / draws, weighted.log_evidence.value


def main(quick: bool) -> None:
    """Print the section."""
    seeds = SEEDS[:1] if quick else SEEDS
    changes: dict[str, Any] = {"steps": 400, "attempts": 1} if quick else {}
    draws = 20_000 if quick else 100_000
    cases: dict[str, tuple[Target, float, KnownTarget | None]] = {}
    line = Parameter("x", shape=(2,), scale=50.0)
    numpy_banana = Target(banana, [line], vectorized=True, plain=True, name="banana")
    cases["banana, 2-d"] = (numpy_banana, 0.0, known_target("banana"))
    for ordering in ("NO",) if quick else ("NO", "IO"):
        case = make_case("5.3", ordering)
        target = neutrino_target(case.tables, plain=True)
        cases[f"NuFIT 5.3 {ordering}, 6-d"] = (target, case.truth.log_evidence, None)
    rows = []
    for name, (target, log_evidence, known) in cases.items():
        found: dict[str, list[float]] = {}
        for seed in seeds:
            began = time.perf_counter()
            result = learn(target, seed=seed, **changes)
            seconds = time.perf_counter() - began
            ess, value = weigh(result, seed, draws)
            calls = result.health.calls
            measured = {
                "ess": ess,
                "evidence": value - log_evidence,
                "scouting": calls["scouting"],
                "learning": calls["learning"],
                "seconds": seconds,
            }
            if known is not None:
                measured["exact"] = exact_ess(result, known, draws=20_000, seed=seed).fraction.value
            for key, number in measured.items():
                found.setdefault(key, []).append(number)
            tell(f"{name}, seed {seed}: {ess:.4f}, {result.status.name}")
        exact = spread(found["exact"]) if "exact" in found else "–"
        rows.append(
            [
                name,
                spread(found["ess"]),
                exact,
                spread(found["evidence"], "+.4f"),
                spread(found["scouting"], ".0f"),
                spread(found["learning"], ".0f"),
                spread(found["seconds"], ".1f"),
            ]
        )
    heads = ("density", "ESS/N", "at exact draws", "log Z error", "scouting calls")
    print(
        f"Default settings, no gradients, seeds {', '.join(map(str, seeds))}; {draws:,} fresh "
        f"draws.\n"
    )
    print(markdown((*heads, "learning calls", "seconds with compiling"), rows))
    print(_workers(quick))


def _workers(quick: bool) -> str:
    count, cores = (200, 2) if quick else (2000, len(os.sched_getaffinity(0)))
    x = np.random.default_rng(0).normal(size=(count, 2))
    line = Parameter("x", shape=(2,), scale=5.0)
    times = {}
    for workers in (0, cores):
        target = Target(slow, [line], plain=True, workers=workers)
        target.evaluate(x[: 4 * cores])  # the processes start
        began = time.perf_counter()
        target.evaluate(x)
        times[workers] = time.perf_counter() - began
        target.close()
    rows = [
        [workers or "none", f"{taken:.1f}", f"{count / taken:.0f}", f"{times[0] / taken:.2f}"]
        for workers, taken in times.items()
    ]
    text = f"\nA density of 10 ms of work a call, {count} calls on {cores} cores:\n\n"
    return text + markdown(("worker processes", "seconds", "calls per second", "ratio"), rows)


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
