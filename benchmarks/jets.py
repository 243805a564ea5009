"""The study ``jets``: Pythia events, a detector, and what models make of them."""

import sys
from importlib.util import find_spec

from benchmarks.tables import SEEDS, machine, markdown, studied, tell
from posterion.studies import Figure

MODELS = "spline monotone one separate published"
OPTIONS = f"--jets 450000 --processes 2 --models {MODELS}"
QUICK = f"--jets 6000 --epochs 1 --parametrised --models {MODELS}"
JETS = ("pt", "eta", "phi", "m")


def line(figures: dict[str, Figure], model: str) -> list[str]:
    """One model."""

    def value(name: str) -> float:
        return float(figures[f"{model}.{name}"].value)

    ratios = [f"{100 * value(f'marginal.{name}.largest'):.1f}" for name in JETS]
    uniform = [f"{value(f'pit.{name}.ks_p'):.2g}" for name in JETS]
    return [
        model, f"{value('auc'):.4f} ± {value('auc.error'):.4f}", " ".join(ratios),
        " ".join(uniform), f"{value('jets_a_second'):.2g}", f"{value('seconds'):.0f}",
    ]  # fmt: skip


def main(quick: bool, resume: bool) -> None:
    """Print the section; nothing without Pythia."""
    if not quick and None in map(find_spec, ("pythia8mc", "fastjet")):
        tell("jets: the extra hep is not installed")
        return
    words = (QUICK if quick else OPTIONS).split()
    figures = studied("jets", "run", *words, seed=SEEDS[0], quick=quick, resume=resume)
    lines = [
        line(figures, key.removesuffix(".log_prob")) for key in figures if key.endswith(".log_prob")
    ]
    heads = ["model", "AUC", "largest errors of ratios, %", "PIT, p", "jets/s", "seconds"]
    planted = figures["simulation.planted_shift.auc"].value
    chain = figures.get("chain.jets_a_second")
    print(
        f"{machine()}, seed {SEEDS[0]}, {figures['pairs'].value:.0f} pairs, a quarter of them to "
        f"judge by. The classifier finds energies shifted by 2 % with {planted:.3f}."
        + ("" if chain is None else f" The chain makes {chain.value:.0f} jets a second.")
        + " Errors of ratios and transforms (Kolmogorov-Smirnov, 20 000 jets) of "
        + ", ".join(JETS)
        + ".\n\n"
        + markdown(heads, lines)
    )


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
