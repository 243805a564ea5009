"""NuFIT 5.3 by the study itself: three seeds of the default, the poster's recipe, NUTS, emcee."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.tables import SEEDS, markdown, posterion, spread, tell
from posterion.studies import Figure, read_metrics

SMALL = ["--ordering=NO", "--steps=300", "--particles=200", "--draws=2000", "--transitions=60"]
SMALL += ["--budget=20000"]

SAMPLERS = {"nuts": "NUTS", "emcee": "emcee DE", "emcee_stretch": "emcee stretch"}


def measure(seed: int, quick: bool) -> tuple[dict[str, Figure], float]:
    """Figures of the study, and the wall time of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        options = [*(SMALL if quick else []), "--seed", str(seed), "--out", folder]
        wall = posterion("run", "neutrinos", *options)
        return read_metrics(Path(folder) / "metrics.json").figures, wall


def number(value: float) -> str:
    """Four digits, or a power of ten."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 1000 else f"{value:.4g}"


def main(quick: bool) -> None:
    """Print the section."""
    seeds = SEEDS[:1] if quick else SEEDS
    found, walls = [], []
    for seed in seeds:
        figures, wall = measure(seed, quick)
        found.append(figures)
        walls.append(wall)
        tell(f"seed {seed}: {wall:.0f} s")
    rows = []
    for name, first in found[0].items():
        values = [f[name].value for f in found if name in f]
        if not all(isinstance(v, int | float) for v in values):
            continue
        x = np.asarray(values, float)
        deviation = number(x.std(ddof=1)) if len(x) > 1 else "–"
        known = [first.truth, first.published, first.floor]
        beside = [number(v) if isinstance(v, int | float) else "–" for v in known]
        rows.append([name, number(x.mean()), deviation, *beside])
    print(
        f"`posterion run neutrinos`, seeds {', '.join(map(str, seeds))}: mean and standard "
        f"deviation; {spread(walls, '.0f')} s for a whole run in a fresh process.\n"
    )
    print(markdown(("figure", "mean", "sd", "exact", "published", "floor"), rows))
    print(_ratios(found))


def _ratios(found: list[dict[str, Figure]]) -> str:
    """Effective draws for each density call and second: the flow over the chains."""
    rows = []
    for ordering in ("NO", "IO"):
        for kind in ("effective_draws_per_call", "effective_draws_per_second"):
            cells = []
            for sampler in SAMPLERS:
                own = [f.get(f"{ordering}.{kind}") for f in found]
                other = [f.get(f"{ordering}.{sampler}.{kind}") for f in found]
                pairs = [(a.value, b.value) for a, b in zip(own, other, strict=True) if a and b]
                ratio = [a / b for a, b in pairs if b]
                cells.append(spread(ratio, ".1f") if ratio else "–")
            if any(cell != "–" for cell in cells):
                rows.append([f"{ordering}, {kind.replace('_', ' ')}", *cells])
    if not rows:
        return ""
    return "\nRatio of the flow to chains:\n\n" + markdown(("", *SAMPLERS.values()), rows)


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
