"""The study ``amortised``: posteriors for any data beside the exact ones."""

import sys

from benchmarks.tables import SEEDS, machine, markdown, studied

QUICK = "--train 2000 --epochs 2 --pairs 100 --draws 100 --observed 2 --compared 500 --points 5"


def main(quick: bool, resume: bool) -> None:
    """Print the section."""
    words = QUICK.split() if quick else []
    figures = studied("amortised", "run", *words, seed=SEEDS[0], quick=quick, resume=resume)
    lines = []
    for key in figures:
        case, _, name = key.partition(".auc")
        if case == key or name:
            continue
        spreads = [
            figure.value for found, figure in figures.items()
            if found.startswith(f"{case}.") and found.endswith(".sd_ratio")
        ]  # fmt: skip
        lines.append([
            case, f"{figures[key].value:.3f} ± {figures[f'{key}.error'].value:.3f}",
            f"{figures[f'{case}.auc_worst'].value:.3f}",
            f"{figures[f'{case}.calibration.p_value'].value:.2g}",
            " ".join(f"{value:.3f}" for value in spreads),
            f"{figures[f'{case}.seconds'].value:.0f}",
        ])  # fmt: skip
    heads = ["case", "AUC", "worst AUC", "calibration, p", "sd / exact sd", "seconds"]
    print(
        f"{machine()}, seed {SEEDS[0]}. A classifier between draws and the exact posterior, the "
        "mean over observations; ranks of fresh pairs, of which 1 % of right posteriors have p "
        "below .01; spreads of each parameter.\n\n" + markdown(heads, lines)
    )


if __name__ == "__main__":
    main("--quick" in sys.argv[1:], "--resume" in sys.argv[1:])
