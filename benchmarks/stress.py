"""Stress targets with default settings: three seeds, each target in a fresh process."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.tables import SEEDS, markdown, posterion, spread, tell
from posterion.studies import read_metrics
from posterion.studies.stress.targets import NAMES, known_target

SMALL = ["--steps=300", "--particles=200", "--draws=2000"]


def measure(name: str, seed: int, quick: bool) -> dict[str, float]:
    """Figures of one target, and the wall time of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--targets", name, *(SMALL if quick else []), "--seed", str(seed)]
        wall = posterion("run", "stress", *options, "--out", folder)
        figures = read_metrics(Path(folder) / "metrics.json").figures
        found = {k.partition(".")[2]: v.value for k, v in figures.items()}
        return {**found, "wall": wall, "status": figures[f"{name}.converged"].source}


def main(quick: bool) -> None:
    """Print the section."""
    seeds = SEEDS[:1] if quick else SEEDS
    rows, calls = [], []
    reached = 0
    names = ("banana", "torus") if quick else NAMES
    for name in names:
        known = known_target(name)
        found = []
        for seed in seeds:
            found.append(measure(name, seed, quick))
            tell(f"{name}, seed {seed}: {found[-1]['exact_ess_fraction']:.4f}")
        exact = [f["exact_ess_fraction"] for f in found]
        k_hat = max(f["exact_k_hat"] for f in found)
        modes = min(f["modes_found"] for f in found)
        evidence = max(abs(f["log_evidence_error"]) for f in found)
        met = min(exact) >= known.goal and k_hat < 0.7 and modes == len(known.weights)
        met &= evidence <= 0.01
        reached += met
        rows.append(
            [
                name,
                spread(exact),
                f"{k_hat:.2f}",
                spread([f["ess_fraction"] for f in found]),
                spread([f["log_evidence_error"] for f in found], "+.4f"),
                f"{modes:.0f} of {len(known.weights)}",
                f"{max(f['mode_error'] for f in found):.1%}",
                spread([f["seconds"] for f in found], ".1f"),
                f"{max(f['wall'] for f in found):.1f}",
                ", ".join(f["status"] for f in found),
                "yes" if met else "no",
            ]
        )
        means = [
            np.mean([f[k] for f in found])
            for k in ("scouting_calls", "density_calls", "health_calls")
        ]
        seconds = spread([f["compile_seconds"] for f in found], ".1f")
        calls.append([name, *(f"{mean:,.0f}".replace(",", " ") for mean in means), seconds])
    heads = (
        *("target", "ESS/N at exact draws", "worst k-hat", "ESS/N of its weights", "log Z error"),
        *("modes, worst", "share off by, worst", "seconds with compiling", "whole process, worst"),
        *("status", "goal met"),
    )
    print(
        f"Default settings, seeds {', '.join(map(str, seeds))}: mean and standard deviation; each "
        f"run in a fresh process without a compilation cache. Goals: ESS/N at exact draws of 0.9 "
        f"(funnel and rosenbrock 0.8) with k-hat below 0.7, every mode within 10 % of its share, "
        f"log Z within 0.01, at every seed. Met: {reached} of {len(names)}.\n"
    )
    print(markdown(heads, rows))
    print("\nDensity calls (means):\n")
    print(
        markdown(("target", "scouting", "learning", "health", "of the seconds: compiling"), calls)
    )


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
