"""Small tables in NuFIT's format whose posterior is known: normal, and von Mises in delta_CP."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from scipy.special import i0e

MEAN = {
    "sin2_theta23": 0.5,
    "Dm2_3l": 2.5,
    "sin2_theta12": 0.31,
    "log10_Dm2_21": -4.13,
    "sin2_theta13": 0.022,
}
SD = {
    "sin2_theta23": 0.03,
    "Dm2_3l": 0.04,
    "sin2_theta12": 0.012,
    "log10_Dm2_21": 0.013,
    "sin2_theta13": 0.0006,
}
CENTRE, KAPPA = -90.0, 2.0
RHO_ATMOSPHERIC, RHO_SOLAR, RHO_PAIR = 0.4, -0.3, -0.2
NAMES = ("sin2_theta23", "Dm2_3l", "delta_CP", "sin2_theta12", "log10_Dm2_21", "sin2_theta13")
BLOCKS = (
    ("sin2_theta23", "Dm2_3l", "delta_CP"),
    ("sin2_theta12", "log10_Dm2_21"),
    ("sin2_theta13", "sin2_theta23"),
    ("sin2_theta23", "delta_CP"),
    ("sin2_theta13",),
    ("sin2_theta12",),
    ("sin2_theta23",),
    ("delta_CP",),
)
_TITLES = {
    "sin2_theta23": ("sin^2(theta23)", "T23"),
    "sin2_theta12": ("sin^2(theta12)", "T12"),
    "sin2_theta13": ("sin^2(theta13)", "T13"),
    "delta_CP": ("Delta_CP/deg", "DCP"),
    "log10_Dm2_21": ("Log10(Delta_m21^2/[eV^2])", "DMS"),
}


def nodes(name: str, ordering: str) -> np.ndarray:
    """Nodes at 7.5 standard deviations around the mean; of two steps, as NuFIT's are."""
    if name == "delta_CP":
        return np.linspace(-180.0, 180.0, 37)
    steps = np.concatenate([np.arange(-7.5, -3.0, 0.75), np.arange(-3.0, 3.01, 0.5)])
    if name == "sin2_theta23":  # uniform
        steps = np.linspace(-7.5, 7.5, 31)
    else:
        steps = np.concatenate([steps, np.arange(3.75, 7.51, 0.75)])
    mean = MEAN[name] * (-1 if (ordering, name) == ("IO", "Dm2_3l") else 1)
    return np.round(mean + SD[name] * steps, 9)


def chi2(names: Sequence[str], ordering: str, *x: np.ndarray) -> np.ndarray:
    """The profile of the model onto `names`."""
    z = {}
    total: np.ndarray | float = 0.0
    for name, value in zip(names, x, strict=True):
        if name == "delta_CP":
            total = total + 2 * KAPPA * (1 - np.cos(np.deg2rad(value - CENTRE)))
        else:
            mean = MEAN[name] * (-1 if (ordering, name) == ("IO", "Dm2_3l") else 1)
            z[name] = (value - mean) / SD[name]
    rho = {
        frozenset(("sin2_theta23", "Dm2_3l")): RHO_ATMOSPHERIC,
        frozenset(("sin2_theta12", "log10_Dm2_21")): RHO_SOLAR,
        frozenset(("sin2_theta13", "sin2_theta23")): RHO_PAIR,
    }.get(frozenset(z), 0.0)
    if len(z) == 2:
        a, b = z.values()
        return total + (a * a + b * b - 2 * rho * a * b) / (1 - rho * rho)
    return total + sum(a * a for a in z.values())


def title(names: Sequence[str], ordering: str, prefix: bool) -> str:
    split = ("Delta_m32^2" if ordering == "IO" else "Delta_m31^2") + "/[1e-3_eV^2]"
    titles = {**_TITLES, "Dm2_3l": (split, "DMA")}
    columns = " ".join([*(titles[n][0] for n in names), "Delta_chi^2"])
    short = "/".join(titles[n][1] for n in names)
    return f"# {short} projection: {columns}" if prefix else f" {columns}"


def excess(name: str, ordering: str, x: np.ndarray) -> np.ndarray:
    """By how much the profile of the pair theta13, theta23 over nodes exceeds the true one."""
    other = {"sin2_theta13": "sin2_theta23", "sin2_theta23": "sin2_theta13"}[name]
    grid = np.meshgrid(x, nodes(other, ordering), indexing="ij")
    return chi2((name, other), ordering, *grid).min(axis=1) - chi2((name,), ordering, x)


def block_lines(
    names: Sequence[str], ordering: str, offset: float, prefix: bool, profiled: bool
) -> list[str]:
    axes = [nodes(name, ordering) for name in names]
    grid = np.meshgrid(*axes, indexing="ij")
    values = chi2(names, ordering, *grid) + offset
    for k, name in enumerate(names):
        if profiled and {"sin2_theta13", "sin2_theta23"} & set(names) == {name}:
            shape = [-1 if j == k else 1 for j in range(len(names))]
            values = values + excess(name, ordering, axes[k]).reshape(shape)
    values = values.ravel()
    rows = [
        " " + " ".join(f"{v:+.9f}" for v in point) + f" {c:.9e}"
        for point, c in zip(product(*axes), values, strict=True)
    ]
    return [title(names, ordering, prefix), *rows, ""]


def write_tables(
    path: Path,
    ordering: str = "NO",
    *,
    offset: float = 0.0,
    prefix: bool = True,
    profiled: bool = False,
    blocks: Sequence[Sequence[str]] = BLOCKS,
    edit: Callable[[list[str]], list[str]] | None = None,
) -> Path:
    """Writes a table; `edit` changes its lines before.

    With `profiled` the blocks of theta13 without theta23, or the reverse, are minima over nodes of
    the other, as NuFIT's are; then the sum with the pair's block is exact, else that without.
    """
    lines = [f"### {'Inverted' if ordering == 'IO' else 'Normal'} Ordering", ""]
    for names in blocks:
        lines += block_lines(names, ordering, offset, prefix, profiled)
    path.write_text("\n".join(edit(lines) if edit else lines) + "\n")
    return path


def covariance(pair: bool) -> np.ndarray:
    """Exact covariance of the five normal parameters, in the order of NAMES less delta_CP."""
    names = [n for n in NAMES if n != "delta_CP"]
    precision = np.zeros((5, 5))

    def add(a: str, b: str, rho: float) -> None:
        i, j = names.index(a), names.index(b)
        block = np.linalg.inv([[1.0, rho], [rho, 1.0]])
        precision[np.ix_([i, j], [i, j])] += block

    add("sin2_theta23", "Dm2_3l", RHO_ATMOSPHERIC)
    add("sin2_theta12", "log10_Dm2_21", RHO_SOLAR)
    precision[4, 4] += 1.0
    if pair:
        add("sin2_theta13", "sin2_theta23", RHO_PAIR)
        for i in (4, 0):
            precision[i, i] -= 1.0
    scale = np.array([SD[n] for n in names])
    return np.linalg.inv(precision) * np.outer(scale, scale)


def log_evidence(pair: bool) -> float:
    """Exact log evidence, without offset, in the units of the parameters."""
    normal = 0.5 * np.linalg.slogdet(2 * np.pi * covariance(pair))[1]
    return float(normal + np.log(360.0 * i0e(KAPPA)))
