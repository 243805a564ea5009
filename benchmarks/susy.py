"""The study ``susy``: each emulator beside the published one, and what choosing runs saves.

Every task is a process of its own, ``posterion run susy --task ...`` at the study's defaults; that
of the cross sections goes on with all other approximations beside.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.tables import SEEDS, Kept, machine, markdown, posterion, tell

SMALL = {
    "rows": 300, "held-out": 150, "epochs": 2, "chains": 2, "draws": 4, "warmup": 4, "thin": 1,
}  # fmt: skip
LABELS = {
    "percent_error": "mean error, %",
    "percent_error_median": "median error, %",
    "percent_error_by_median": "mean error of the predictive median, %",
    "covered_1": "within 1 sd, raw",
    "covered_2": "2 sd, raw",
    "covered_3": "3 sd, raw",
    "covered_1_corrected": "1 sd, corrected",
    "covered_2_corrected": "2 sd, corrected",
    "covered_3_corrected": "3 sd, corrected",
    "window.f1": "F1 of 123 to 127 GeV",
    "window_overlap.f1": "F1, 3 sd meet the window",
    "mean.precision": "precision",
    "mean.recall": "recall",
    "mean.f1": "F1",
    "mean_plus_3_sd.f1": "F1, mean + 3 sd",
    "calibration_error": "calibration error, raw",
    "calibration_error_corrected": "calibration error, corrected",
    "R-hat_in_prediction_median": "R-hat, median",
    "R-hat_in_prediction_95_percent": "R-hat, 95 %",
    "seconds": "seconds",
}


BESIDE = {"cross-section": ("mean-field", "flipout", "concrete-dropout")}
"""Beside the defaults."""


def studied(task: str, seed: int, quick: bool, kept: Kept) -> str:
    """The table of one task."""
    from posterion.studies import read_metrics

    folder = kept.folder / task
    options = ["--task", task, "--seed", str(seed), "--out", str(folder), "--resume"]
    options += [f"--{name}={value}" for name, value in SMALL.items()] if quick else []
    took = kept(f"{task}-seconds", lambda: posterion("run", "susy", *options))
    if task in BESIDE:
        beside = "ensemble", "laplace", "swag", *BESIDE[task]
        more = posterion("run", "susy", *options, "--beside", *beside)
        tell(f"{task}, more beside: {more / 60:.1f} min")
    metrics = read_metrics(folder / "metrics.json")
    tell(f"{task}: {took / 60:.1f} min")
    rows: dict[str, dict[str, Any]] = {}
    published: dict[str, Any] = {}
    for name, figure in metrics.figures.items():
        parts = name.removeprefix(f"{task}.").split(".", 1)
        if len(parts) == 2 and parts[1] in LABELS:
            rows.setdefault(parts[0].replace("_", " "), {})[parts[1]] = figure.value
            if figure.published is not None:
                published[parts[1]] = figure.published
    names = [n for n in LABELS if any(n in row for row in rows.values())]
    lines = [
        [LABELS[n], *(f"{row[n]:.4g}" if n in row else "" for row in rows.values()),
         f"{published[n]:.4g}" if n in published else ""]
        for n in names
    ]  # fmt: skip
    rate, codes, own = (
        metrics.figures[f"{task}.{name}"].value
        for name in (
            "network_evaluations_a_second",
            "faster_than_published_codes",
            "faster_than_generator",
        )
    )
    said = (
        f"\n{took / 60:.1f} min in all. {rate:.2g} evaluations of a network a second, a factor of "
        f"{codes:.1e} below 3.5 minutes a point; the vectorised stand-in is {1 / own:.2g} times "
        "faster.\n"
    )
    return f"### {task}\n\n" + markdown(["test rows", *rows, "published"], lines) + "\n" + said


def chosen(seed: int, quick: bool) -> str:
    """Mean percent error of the Higgs mass with runs chosen at random and by `next_points`."""
    from posterion.emulators import emulate, next_points
    from posterion.networks import mlp
    from posterion.studies.susy.parameters import NAMES
    from posterion.studies.susy.scanning import scan

    first, each, rounds, pool, epochs = (
        (100, 50, 2, 500, 2) if quick else (1000, 500, 5, 18_000, 400)
    )
    table = scan("higgs-mass", pool + 8000, seed=seed, quiet=True)
    x, y = np.column_stack([table[name] for name in NAMES]), table["m_h"]
    test_x, test_y, x, y = x[pool:], y[pool:], x[:pool], y[:pool]
    lines: dict[int, list[str]] = {}
    for how in ("random", "chosen"):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(pool)[:first]
        for _ in range(rounds):
            found = emulate(
                x[rows], y[rows], network=mlp((50, 50, 50), "swish"), sampler="ensemble", chains=8,
                epochs=epochs, batch=64, correction=0.0, test=0.0, seed=seed, quiet=True,
            )  # fmt: skip
            error = 100 * np.abs(found.predict(test_x).mean / test_y - 1)
            cell = f"{error.mean():.3f} ({np.median(error):.3f})"
            lines.setdefault(len(rows), [str(len(rows))]).append(cell)
            rest = np.setdiff1d(np.arange(pool), rows)
            more = rng.permutation(rest)[:each]
            if how == "chosen":
                more = rest[next_points(found, x[rest], each)]
            rows = np.concatenate([rows, more])
    heads = ["runs", "at random", "by next_points"]
    return (
        f"### Where to run next\n\nHiggs mass, mean and (median) percent error on 8000 points, an "
        f"ensemble of eight (19, 50 x 3, 1); {each} runs at a time out of {pool}.\n\n"
        + markdown(heads, list(lines.values()))
    )


def main(quick: bool, resume: bool) -> None:
    """Print the section."""
    seed = SEEDS[0]
    kept = Kept("susy", quick, resume)
    tasks = ("cross-section", "higgs-mass", "viability")

    def made(name: str) -> str:
        if name in tasks:
            return kept(name, lambda: studied(name, seed, quick, kept))
        return kept(name, lambda: chosen(seed, quick))

    with ThreadPoolExecutor(2) as pool:  # of processes
        parts = list(pool.map(made, (*tasks, "chosen")))
    print(f"{machine()}, two tasks at a time, seed {seed}.\n")
    print("\n".join(parts))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
