"""Sampling from a saved file: rate, cold start to Parquet, load time, size."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.tables import fresh_environment, markdown, posterion, tell
from posterion.training import load

REPEATS = 3
LOAD = "import sys, posterion; posterion.load(sys.argv[1])"
START = "import numpy, jax, equinox"


def cold(code: str, *arguments: str) -> float:
    """Wall time of a new process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=fresh_environment())
    return time.perf_counter() - began


def median(times: list[float]) -> str:
    """With the range."""
    return f"{np.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


def main(quick: bool) -> None:
    """Print the section."""
    n = 100_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ["--ordering=NO", "--no-poster", "--budget=none", "--no-chains"]
        if quick:
            options += ["--steps=300", "--particles=200", "--draws=2000"]
        posterion("run", "neutrinos", *options, "--seed", "2026", "--out", name)
        file = folder / "neutrinos.posterion"
        tell("learned")
        result = load(file)
        result.sample(20_000, seed=1)
        rates = []
        for seed in range(REPEATS):
            began = time.perf_counter()
            result.sample(n, seed=seed)
            rates.append(n / (time.perf_counter() - began))
        tables = []
        for seed in range(REPEATS):
            output = folder / f"draws-{seed}.parquet"
            count = ["-n", str(n), "--seed", str(seed)]
            tables.append(posterion("sample", str(file), *count, "-o", str(output)))
            tell(f"Parquet: {tables[-1]:.1f} s")
        loads = [cold(LOAD, str(file)) for _ in range(REPEATS)]
        starts = [cold(START) for _ in range(REPEATS)]
        size = file.stat().st_size / 1e6
    rates_said = f"{np.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
    rows = [
        [f"draws per second, {n:,} draws".replace(",", " "), rates_said.replace(",", " ")],
        [f"`posterion sample -n {n} -o draws.parquet`, cold start [s]", median(tables)],
        ["`posterion.load` in a new process [s]", median(loads)],
        ["of which: importing NumPy, JAX and Equinox [s]", median(starts)],
        ["size of the file [MB]", f"{size:.2f}"],
    ]
    print(f"NuFIT 5.3, normal ordering; median and range of {REPEATS}.\n")
    print(markdown(("", "median (range)"), rows))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
