"""The study ``likelihood-toy`` at three seeds, on the published inputs where they are given.

The inputs are ``toy_likelihood_inputs.json`` in the folder of ``--data``; else the study's own.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import SEEDS, machine, markdown, posterion, tell
from posterion.studies import read_metrics
from posterion.studies.likelihood_toy.inputs import generate, read
from posterion.studies.likelihood_toy.model import toy_target
from posterion.studies.likelihoods import chains

SMALL = ("--train=2000", "--held_out=2000", "--epochs=1", "--steps=20", "--particles=64")
ROWS = ("samples", "samples_and_density", "density_alone")
PARTS = ("ks_p", "wasserstein", "frobenius", "width_1", "width_2", "width_3")


def cell(figure: object) -> str:
    """A value, and its floor where it has one."""
    value, floor = getattr(figure, "value", figure), getattr(figure, "floor", None)
    return f"{value:.3g}" if floor is None else f"{value:.3g} ({floor:.3g})"


def lines(seed: int, quick: bool, inputs: list[str]) -> tuple[list[list[str]], list[str]]:
    """The rows of one seed, and what was exact."""
    with tempfile.TemporaryDirectory() as folder:
        options = [*(SMALL if quick else ()), *inputs, "--seed", str(seed), "--out", folder]
        posterion("run", "likelihood-toy", *options)
        found = read_metrics(Path(folder) / "metrics.json").figures
    rows = [[str(seed), "normal", f"{found['normal.ess_fraction'].value:.4f}"]]
    rows[0] += [""] * (len(PARTS) + 2)
    for name in ROWS:
        row = [str(seed), name.replace("_", " "), f"{found[f'{name}.ess_fraction'].value:.4f}"]
        row.append(f"{found[f'{name}.t_mu_error'].value:.3f}")
        row += [cell(found[f"{name}.{part}"]) for part in PARTS]
        rows.append([*row, f"{found[f'{name}.seconds'].value:.0f}"])
    exact = [f"{found[f'exact.t_mu.{i / 10:.1f}'].value:.4f}" for i in range(11)]
    said = [
        f"seed {seed}: max log P {found['exact.best_log_prob'].value:.4f}, t_mu {' '.join(exact)}",
        f"chains: {found['chain.effective'].value:.0f} effective draws of x, "
        f"{found['chain.effective_squares'].value:.0f} of x^2, R-hat "
        f"{found['chain.r_hat'].value:.4f}, {found['chain.seconds'].value:.0f} s; the simplified "
        f"likelihood's mean |t error| {found['simplified.t_mu_error'].value:.3f}",
    ]
    tell("; ".join(said))
    return rows, said


def rate(file: Path | None, quick: bool) -> str:
    """Effective draws a second of chains whose programs are compiled: the second run of two."""
    target = toy_target(generate() if file is None else read(file))
    wanted = 2_000 if quick else 500_000
    chains.sampled(target, wanted, seed=SEEDS[0])
    began = time.perf_counter()
    chain = chains.sampled(target, wanted, seed=SEEDS[1])
    seconds = time.perf_counter() - began
    worth = min(chains.effective(chain))
    return (
        f"chains run again after compiling: {worth:.0f} effective draws in {seconds:.1f} s, "
        f"scouting and warmup among them: {worth / seconds:.0f} a second"
    )


def main(quick: bool) -> None:
    """Print the section."""
    file = Path(os.environ.get("POSTERION_DATA", "")) / "toy_likelihood_inputs.json"
    given = "POSTERION_DATA" in os.environ and file.exists()
    rows, said = [], []
    for seed in SEEDS[:1] if quick else SEEDS:
        more, words = lines(seed, quick, ["--inputs", str(file)] if given else [])
        rows += more
        said += words
    heads = ("seed", "learned from", "ESS/N", "mean abs t error", *PARTS, "seconds")
    said.append(rate(file if given else None, quick))
    whose = "the published ones" if given else "the study's own"
    print(f"{machine()}. Inputs: {whose}. In brackets the floor, truth against truth.\n")
    print(markdown(heads, rows))
    print("\n" + "\n".join(f"- {line}" for line in said))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
