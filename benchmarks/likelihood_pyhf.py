"""The study ``likelihood-pyhf`` on three published workspaces, from JSON to checked bundle.

They are ``pyhf/*.json.xz`` in the folder of ``--data``; without it the study's own workspace.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.likelihood import cell
from benchmarks.tables import SEEDS, machine, markdown, posterion, tell
from posterion.studies import read_metrics

SMALL = ("--train=2000", "--held_out=4000", "--steps=20", "--particles=200")
WORKSPACES = (
    "pyhf-tutorial_bkg_only",
    "ATLAS-SUSY-2018-31_BkgOnlyA",
    "ATLAS-SUSY-2018-04_SRcombined",
)
PARTS = ("ks_p", "ks_p.worst", "frobenius", "width_1", "width_2", "width_2.worst", "width_3")
HEADS = ("workspace", "parameters", "learned from", "ESS/N", *PARTS, "seconds", "all, seconds")


def lines(name: str, seed: int, quick: bool, file: Path | None) -> tuple[list[list[str]], str]:
    """The rows of one workspace, and what its chains are worth."""
    with tempfile.TemporaryDirectory() as folder:
        given = [] if file is None else ["--workspace", str(file)]
        options = [*(SMALL if quick else ()), *given, "--seed", str(seed), "--out", folder]
        try:
            posterion("run", "likelihood-pyhf", *options)
        except subprocess.CalledProcessError as error:
            said = f"{name}: no figures, the study stopped with code {error.returncode}"
            tell(said)
            return [], said
        metrics = read_metrics(Path(folder) / "metrics.json")
    found = metrics.figures
    start = [name, str(found["parameters"].value)]
    normal = [*start, "normal", f"{found['normal.ess_fraction'].value:.4f}"]
    row = [*start, "density alone", f"{found['density_alone.ess_fraction'].value:.4f}"]
    row += [cell(found[f"density_alone.{part}"]) for part in PARTS]
    row += [f"{found['density_alone.seconds'].value:.0f}", f"{metrics.seconds:.0f}"]
    said = (
        f"{name}: chains of {found['chain.effective'].value:.0f} effective draws of x, "
        f"{found['chain.effective_squares'].value:.0f} of x^2, R-hat "
        f"{found['chain.r_hat'].value:.4f}, {found['chain.seconds'].value:.0f} s"
    )
    if "density_alone.t_mu_error" in found:
        error = found["density_alone.t_mu_error"].value
        said += f"; mean |t error| of the profile up to t = 9 {error:.3f}"
    tell(said)
    return [normal + [""] * (len(HEADS) - len(normal)), row], said


def main(quick: bool) -> None:
    """Print the section."""
    folder = Path(os.environ.get("POSTERION_DATA", "")) / "pyhf"
    files = {name: folder / f"{name}.json.xz" for name in WORKSPACES}
    given: dict[str, Path | None] = {k: v for k, v in files.items() if v.exists()}
    seed, rows, said = SEEDS[0], [], []
    for name, file in (given or {"our own": None}).items():
        more, words = lines(name, seed, quick, file)
        rows += more
        said.append(words)
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    print(f"{machine()}. Seed {seed}; load at the end {load}.")
    print("In brackets the floor, truth against truth; all: from JSON to page and bundle.\n")
    print(markdown(HEADS, rows))
    print("\n" + "\n".join(f"- {line}" for line in said))


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
