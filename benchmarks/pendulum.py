"""The study ``pendulum`` over five seeds: published methods and ours beside the exact posterior."""

import sys

from benchmarks.tables import ROOT, SEEDS, machine, markdown, posterion
from posterion.studies.base import Figure, read_metrics

FOLDER = ROOT / "out" / "benchmarks"
COLUMNS = {
    "correlation": "correlation",
    "squared_error": "squared error",
    "coverage_error.in_range": "coverage error, in range",
    "coverage_error.0.8-1.2_m": "0.8-1.2 m",
    "coverage_error.1.2-1.6_m": "1.2-1.6 m",
    "seconds": "seconds",
}
QUICK = {
    "train": 2000, "test": 300, "members": 2, "flows": 2, "epochs": 1, "long-epochs": 1,
    "chains": 2, "draws": 2, "warmup": 10, "thin": 1, "seeds": 1,
}  # fmt: skip


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
    folder = FOLDER / ("pendulum-quick" if quick else "pendulum")
    options = QUICK if quick else {"seeds": 5}
    texts = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    go_on = ["--resume"] if resume else []
    posterion("run", "pendulum", "--seed", str(SEEDS[0]), "--out", str(folder), *texts, *go_on)
    figures = read_metrics(folder / "metrics.json").figures
    pairs = dict.fromkeys(tuple(key.rsplit(".correlation", 1)[0] for key in figures
                                if key.endswith(".correlation")))  # fmt: skip
    lines = []
    for pair in pairs:
        method = pair.rpartition(".")[2]
        noise = float(pair.removesuffix(f".{method}"))
        cells = [cell(figures, f"{pair}.{name}") for name in COLUMNS]
        lines.append([f"to {100 * noise:g} %", method, *cells])
    print(
        f"{machine()}, seeds from {SEEDS[0]} on: mean and standard deviation, and (published). "
        "Squared errors in (m/s²)².\n\n" + markdown(["noise", "method", *COLUMNS.values()], lines)
    )


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
