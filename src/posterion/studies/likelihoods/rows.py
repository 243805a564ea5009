"""The rows of a study of likelihoods: as figures, as a table, as words and on the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from posterion.reports import Image, Layer, corner_plot, new_figure, style
from posterion.sampling import Profile
from posterion.sampling.chain import Chain
from posterion.studies.base import Figure
from posterion.studies.likelihoods.chains import effective
from posterion.studies.likelihoods.keeping import Floats, Kept, by_name

METRICS: tuple[str, ...] = ("ks_p", "wasserstein", "frobenius", "width_1", "width_2", "width_3")

Line = list[Any]


def chain_figures(chain: Chain) -> dict[str, Any]:
    """What the chains are worth."""
    first, second = effective(chain)
    return {
        "chain.effective": first,
        "chain.effective_squares": second,
        "chain.r_hat": float(np.max(chain.r_hat)),
        "chain.seconds": chain.seconds,
    }


def row_figures(
    rows: Sequence[Kept], *, published: Mapping[str, float] | None = None, source: str | None = None
) -> dict[str, Any]:
    """The figures of every row by ``<row>.<name>``, metrics beside their floor.

    Args:
        rows: the plain normal first.
        published: metrics of the literature, by name.
        source: where they come from.
    """
    found: dict[str, Any] = {}
    for row in rows:
        key = row.name.replace(" ", "_")
        found[f"{key}.ess_fraction"] = Figure(row.ess.value, floor=1.0)
        found[f"{key}.seconds"] = row.seconds
        found[f"{key}.seen"] = row.seen
        found[f"{key}.density_calls"] = row.calls
        if row.profile is not None:
            found[f"{key}.t_mu_error"] = _profile_error(row)
        if row.comparison is not None:
            for name in METRICS:
                metric = row.comparison[name]
                found[f"{key}.{name}"] = Figure(
                    metric.value,
                    published=(published or {}).get(name),
                    floor=metric.floor.value,
                    source=source,
                )
                if metric.worst is not None and metric.worst_floor is not None:
                    worst = Figure(metric.worst, floor=metric.worst_floor.value)
                    found[f"{key}.{name}.worst"] = worst
    return found


def _profile_error(row: Kept) -> float | None:
    """Mean distance from the exact test statistic."""
    return None if row.profile is None else float(np.abs(row.profile.error).mean())


def table(rows: Sequence[Kept]) -> tuple[list[str], list[Line]]:
    """Heads and a line for each row; the last is the floor."""
    some = next(row.comparison for row in rows if row.comparison is not None)
    heads = ["learned from", "draws seen", "density calls", "ESS/N", "mean |t error|"]
    heads += [some[name].label for name in METRICS] + ["largest pull", "seconds"]
    lines: list[Line] = []
    for row in rows:
        error = _profile_error(row)
        line: Line = [row.name, row.seen, row.calls, f"{row.ess.value:.4f}"]
        line.append("" if error is None else f"{error:.3f}")
        if row.comparison is None:  # the plain normal stands in every comparison
            line += [f"{some[name].gaussian:.3g}" for name in METRICS] + [""]
        else:
            line += [f"{row.comparison[name].value:.3g}" for name in METRICS]
            line.append(f"{row.comparison.largest[1]:.1f}")
        lines.append([*line, f"{row.seconds:.1f}"])
    lines.append(["floor", "", "", "1", "0", *(f"{some[n].floor.value:.3g}" for n in METRICS)])
    lines[-1] += [f"{some.limit:.1f}", ""]
    return heads, lines


def judgement(rows: Sequence[Kept]) -> list[str]:
    """Of each learned row, whether it is better than the plain normal, which is the first."""
    normal = rows[0].ess.value
    return [
        f"{row.name}: ESS/N {row.ess.value:.4f}, "
        + ("better than" if row.ess.value > normal else "NOT better than")
        + f" the {normal:.4f} of a plain normal"
        for row in rows[1:]
    ]


def worst_words(rows: Sequence[Kept]) -> list[str]:
    """Of each row that can draw, its worst coordinates beside those of truth against truth."""
    said = []
    for row in rows:
        if row.comparison is not None:
            parts = [
                f"{m.label} {m.worst:.3g} of {m.column} (floor {m.worst_floor.value:.3g})"
                for m in (row.comparison[name] for name in ("ks_p", "width_2"))
                if m.worst is not None and m.worst_floor is not None
            ]
            said.append(f"{row.name}, worst coordinates: {', '.join(parts)}")
    return said


def better(rows: Sequence[Kept]) -> bool:
    """Whether every learned row is better than the plain normal."""
    return all(row.ess.value > rows[0].ess.value for row in rows[1:])


def aligned(heads: Sequence[str], lines: Sequence[Line]) -> str:
    """The table for a terminal."""
    cells = [[str(cell) for cell in line] for line in (heads, *lines)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    return "\n".join(
        "  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def chain_words(chain: Chain) -> str:
    """What the chains are worth, in a line."""
    first, second = effective(chain)
    worth = f"{first:,.0f} effective draws of x, {second:,.0f} of x^2".replace(",", " ")
    return f"chains: {worth}, R-hat {np.max(chain.r_hat):.4f}, {chain.seconds:.1f} s"


def corner(row: Kept, held: Chain, names: Sequence[str]) -> Image:
    """Draws of a row and held-out ones, of some parameters."""
    result = row.result
    draws = by_name(result.target, held)
    shown = {name: draws[name][:: max(1, len(held.flat()) // 50_000)] for name in names}
    some = [p for p in result.parameters if p.name in names]
    layers = [
        Layer.of(result, label=row.name, n=50_000, names=names),
        Layer.of_draws(shown, some, label="held-out draws"),
    ]
    return Image.of(corner_plot(layers), "Corner plot", "Flow and held-out draws.")


def profiles(
    rows: Sequence[Kept], exact: Profile, label: str, others: Mapping[str, Floats] | None = None
) -> Image:
    """The test statistic of every row and the exact one.

    Args:
        rows: those without a profile are left out.
        exact: of the density.
        label: of the profiled parameter.
        others: further ones, on the grid of ``exact``.
    """
    with style():
        figure = new_figure(6.0, 4.0)
        axes = figure.subplots()
        axes.plot(exact.grid, exact.t, color="black", label="exact")
        for row in rows:
            if row.profile is not None:
                t = row.profile.t
                axes.plot(exact.grid, t, marker="o", linestyle="none", label=row.name)
        for name, t in (others or {}).items():
            axes.plot(exact.grid, t, linestyle="--", label=name)
        axes.set_xlabel(label)
        axes.set_ylabel("test statistic $t$")
        axes.set_ylim(-0.05 * exact.t.max(), 1.3 * exact.t.max())
        axes.legend()
    return Image.of(figure, "Test statistic", "Test statistic against the profiled parameter.")
