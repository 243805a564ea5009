"""The study ``pendulum``: published methods and ours beside the exact posterior."""

import sys

from benchmarks.tables import SEEDS, machine, markdown, studied
from posterion.studies import Figure

COLUMNS = {
    "correlation": "correlation",
    "squared_error": "squared error",
    "coverage_error.in_range": "coverage error, in range",
    "coverage_error.0.8-1.2_m": "0.8-1.2 m",
    "coverage_error.1.2-1.6_m": "1.2-1.6 m",
    "seconds": "seconds",
}
METHODS = "ensemble concrete-dropout flipout log-ensemble quantiles flows"
RUNS = {
    "five-seeds": f"--noise 0.2 --seeds 5 --methods {METHODS}",
    "little-noise": f"--noise 0.05 --methods {METHODS}",
    "sampled": "--noise 0.2 --methods sampled",
}
"""Chains take as long for one seed as all the others for one."""
QUICK = (
    "--train 2000 --test 300 --members 2 --flows 2 --epochs 1 --long-epochs 1 --chains 2 --draws 2 "
    "--warmup 10 --thin 1"
)


def cell(figures: dict[str, Figure], name: str) -> str:
    """Mean over the seeds, with their spread, and what was published."""
    if name not in figures:
        return ""
    figure, spread = figures[name], figures.get(f"{name}.spread")
    digits = 0 if name.endswith("seconds") else 4
    told = f"{figure.value:.{digits}f}"
    if spread is not None:
        told += f" ± {spread.value:.{digits}f}"
    return told if figure.published is None else f"{told} ({figure.published:g})"


def main(quick: bool, resume: bool) -> None:
    """Print the section."""
    lines = []
    for part, options in RUNS.items():
        words = [*options.split(), *(QUICK.split() if quick else [])]
        figures = studied("pendulum", part, *words, seed=SEEDS[0], quick=quick, resume=resume)
        for key in figures:
            pair, _, name = key.partition(".correlation")
            if pair == key or name:
                continue
            method = pair.rpartition(".")[2]
            noise = 100 * float(pair.removesuffix(f".{method}"))
            if (part, method) != ("sampled", "exact"):
                cells = [cell(figures, f"{pair}.{column}") for column in COLUMNS]
                lines.append([f"to {noise:g} %", method, *cells])
    print(
        f"{machine()}. At 20 % seeds from {SEEDS[0]} on: mean and standard deviation of five; else "
        "one seed, as of sampled networks. In brackets what was published (2004.10710). Squared "
        "errors in (m/s²)².\n\n" + markdown(["noise", "method", *COLUMNS.values()], lines)
    )


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
