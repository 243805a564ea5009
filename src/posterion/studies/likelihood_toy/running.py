"""Running the study: sample, learn, compare, write."""

import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.versions import versions
from posterion.diagnostics import Health
from posterion.reports import (
    Image,
    Layer,
    Page,
    Preformatted,
    Prose,
    Section,
    Table,
    corner_plot,
    new_figure,
    style,
    write_page,
)
from posterion.reports.blocks import Block
from posterion.sampling import profile, sample_chain
from posterion.sampling.chain import Chain
from posterion.studies.base import Figure, Outcome, write_metrics
from posterion.studies.likelihood_toy.inputs import Inputs, described, generate, read
from posterion.studies.likelihood_toy.learning import (
    GRID,
    Kept,
    effective,
    from_density,
    from_samples,
    gaussian,
    measured,
    split,
    thinned,
)
from posterion.studies.likelihood_toy.model import toy_target
from posterion.studies.likelihood_toy.options import Settings
from posterion.studies.likelihood_toy.simplified import simplified_target
from posterion.training import Posterior
from posterion.training.checking import check_posterior

__all__ = ["check_result", "run_study"]

STUDY_NAME = "likelihood-toy"
_CHAINS, _WARMUP = 256, 400
_METRICS = ("ks_p", "wasserstein", "frobenius", "width_1", "width_2", "width_3")
_PUBLISHED = (0.496, 5.39e-3, 0.217, 2.18e-2, 9.7e-3, 1.06e-2)
_SOURCE = "Reyes-Gonzalez and Torre, 2309.09743, MAF of 2 transforms, other inputs"
_SHOWN = ("mu", "isr", "jes", "lv", "cr")


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Sample, learn, compare; write bundles, ``metrics.json`` and ``report.html``.

    Raises:
        TableError: the file of inputs is not of the form.
    """
    began = time.perf_counter()
    inputs = generate() if settings.inputs is None else read(settings.inputs)
    target = toy_target(inputs)
    exact = profile(target, "mu", GRID)
    chain = _sampled(target, settings, seed)
    train, held = split(chain, settings.train)
    held = thinned(held)
    truth = {p.name: held.draws[p.name].reshape(-1, *p.shape) for p in target.parameters}
    identity = _identity(inputs, settings, seed)
    rows = [gaussian(target, train, seed=seed)]
    for name, density in (("samples", False), ("samples and density", True)):
        path = out / f"{name.replace(' ', '-')}.posterion"
        result, seconds = from_samples(
            target,
            train,
            settings,
            density=density,
            seed=seed,
            identity=identity,
            path=path,
            resume=resume,
        )
        calls = len(train.flat()) if density else 0
        known = {"seen": len(train.flat()), "calls": calls, "seconds": seconds}
        rows.append(measured(name, result, target, truth, seed=seed, **known))
    path = out / f"{STUDY_NAME}.posterion"
    learned, seconds = from_density(
        target, settings, seed=seed, identity=identity, path=path, resume=resume
    )
    spent = sum(n for kind, n in learned.health.calls.items() if kind != "health")
    known = {"seen": 0, "calls": int(spent), "seconds": seconds}
    rows.append(measured("density alone", learned, target, truth, seed=seed, **known))
    simple = profile(simplified_target(inputs, seed=seed), "mu", GRID).t - exact.t
    figures = _figures(rows, exact, chain, simple)
    metrics, page = out / "metrics.json", out / "report.html"
    write_metrics(metrics, STUDY_NAME, seed, time.perf_counter() - began, figures)
    write_page(page, _page(inputs, rows, exact, chain, held, simple, learned))
    bundles = [out / f"{n}.posterion" for n in ("samples", "samples-and-density", STUDY_NAME)]
    return Outcome(_text(rows, exact, chain, simple), (*bundles, page, metrics))


def check_result(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result anew, against the density of the generated inputs.

    Raises:
        SettingError: it is not one that this study learned from its own inputs.
    """
    if not isinstance(result, Posterior) or result.provenance.get("study") != STUDY_NAME:
        raise SettingError(
            "the result is not the one that 'likelihood-toy' learns from the density"
        )
    inputs = generate()
    if result.provenance["part"]["inputs"] != inputs.source:
        raise SettingError(
            f"the result is of the inputs {result.provenance['part']['inputs']}, which its file "
            "does not hold: give its target in Python, result.with_target(toy_target(read(FILE)))"
        )
    return check_posterior(result, toy_target(inputs), seed=seed)


def _identity(inputs: Inputs, settings: Settings, seed: int) -> dict[str, Any]:
    """What tells this run from another."""
    numbers = {k: v for k, v in vars(settings).items() if k != "inputs"}
    arrays = [v for v in vars(inputs).values() if isinstance(v, np.ndarray)]
    checksum = zlib.crc32(b"".join(array.tobytes() for array in arrays))
    version = versions()["posterion"]
    known = {"seed": seed, "inputs": inputs.source, "checksum": checksum, "posterion": version}
    return known | numbers


def _sampled(target: Any, settings: Settings, seed: int) -> Chain:
    draws = -(-(settings.train + settings.held_out) // _CHAINS)
    return sample_chain(
        target, draws=draws, warmup=_WARMUP, chains=_CHAINS, sampler="parallel", seed=seed
    )


def _errors(row: Kept) -> np.ndarray | None:
    return None if row.profile is None else row.profile.error


def _figures(rows: list[Kept], exact: Any, chain: Chain, simple: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {
        "exact.best_log_prob": exact.best_log_prob,
        "exact.best_mu": float(exact.best_fit["mu"]),
        "chain.effective": effective(chain)[0],
        "chain.effective_squares": effective(chain)[1],
        "chain.r_hat": float(np.max(chain.r_hat)),
        "chain.seconds": chain.seconds,
        "simplified.t_mu_error": float(np.abs(simple).mean()),
    }
    found |= {f"exact.t_mu.{mu:.1f}": float(t) for mu, t in zip(GRID, exact.t, strict=True)}
    for row in rows:
        key = row.name.replace(" ", "_")
        found[f"{key}.ess_fraction"] = Figure(row.ess.value, floor=1.0)
        found[f"{key}.seconds"] = row.seconds
        found[f"{key}.seen"] = row.seen
        found[f"{key}.density_calls"] = row.calls
        errors = _errors(row)
        if errors is not None:
            found[f"{key}.t_mu_error"] = float(np.abs(errors).mean())
        if row.comparison is not None:
            for name, published in zip(_METRICS, _PUBLISHED, strict=True):
                metric = row.comparison[name]
                found[f"{key}.{name}"] = Figure(
                    metric.value, published=published, floor=metric.floor.value, source=_SOURCE
                )
    return found


def _table(rows: list[Kept], simple: np.ndarray) -> tuple[list[str], list[list[Any]]]:
    some = next(row.comparison for row in rows if row.comparison is not None)
    heads = ["learned from", "draws seen", "density calls", "ESS/N", "mean |t error|"]
    heads += [some[name].label for name in _METRICS] + ["largest pull", "seconds"]
    lines: list[list[Any]] = []
    for row in rows:
        errors = _errors(row)
        line: list[Any] = [row.name, row.seen, row.calls, f"{row.ess.value:.4f}"]
        line.append("" if errors is None else f"{np.abs(errors).mean():.3f}")
        if row.comparison is None:  # the plain normal stands in every comparison
            line += [f"{some[name].gaussian:.3g}" for name in _METRICS] + [""]
        else:
            line += [f"{row.comparison[name].value:.3g}" for name in _METRICS]
            line.append(f"{row.comparison.largest[1]:.1f}")
        lines.append([*line, f"{row.seconds:.1f}"])
    blank = [""] * (len(_METRICS) + 2)
    lines.append(["simplified likelihood", "", "", "", f"{np.abs(simple).mean():.3f}", *blank])
    lines.append(["floor", "", "", "1", "0", *(f"{some[n].floor.value:.3g}" for n in _METRICS)])
    lines[-1] += [f"{some.limit:.1f}", ""]
    lines.append(["published MAF", 200_000, 0, "", "", *_PUBLISHED, "", ""])
    return heads, lines


def _judgement(rows: list[Kept]) -> list[str]:
    """Of each learned row, whether it is better than the plain normal."""
    normal = rows[0].ess.value
    return [
        f"{row.name}: ESS/N {row.ess.value:.4f}, "
        + ("better than" if row.ess.value > normal else "NOT better than")
        + f" the {normal:.4f} of a plain normal"
        for row in rows[1:]
    ]


def _text(rows: list[Kept], exact: Any, chain: Chain, simple: np.ndarray) -> str:
    heads, lines = _table(rows, simple)
    cells = [[str(cell) for cell in line] for line in (heads, *lines)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    table = "\n".join(
        "  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )
    first, second = effective(chain)
    worth = f"{first:,.0f} effective draws of x, {second:,.0f} of x^2".replace(",", " ")
    said = [
        f"best fit mu = {float(exact.best_fit['mu']):.4f}, log P = {exact.best_log_prob:.4f}",
        f"chains: {worth}, R-hat {np.max(chain.r_hat):.4f}, {chain.seconds:.1f} s",
        *_judgement(rows),
    ]
    return table + "\n\n" + "\n".join(said)


def _page(
    inputs: Inputs,
    rows: list[Kept],
    exact: Any,
    chain: Chain,
    held: Chain,
    simple: np.ndarray,
    learned: Any,
) -> Page:
    heads, lines = _table(rows, simple)
    sums = described(inputs)
    categories = Table(
        ("category", *sums),
        [[i + 1, *(f"{v[i]:.1f}" for v in sums.values())] for i in range(3)],
        f"Expected and observed events; inputs: {inputs.source}",
    )
    figures = Table(
        heads,
        lines,
        "Medians over the coordinates; the floor is truth against truth of the same sizes. The "
        "metrics alone accept a plain normal: ESS/N tells.",
    )
    draws = {p.name: held.draws[p.name].reshape(-1, *p.shape) for p in learned.parameters}
    shown = {name: draws[name][:: max(1, len(held.flat()) // 50_000)] for name in _SHOWN}
    some = [p for p in learned.parameters if p.name in _SHOWN]
    corner = corner_plot(
        [
            Layer.of(learned, label="density alone", n=50_000, names=_SHOWN),
            Layer.of_draws(shown, some, label="held-out draws"),
        ]
    )
    health: Block = Preformatted(learned.health.text(100), "health", folded=True)
    good = all(row.ess.value > rows[0].ess.value for row in rows[1:])
    return Page(
        "An LHC-like likelihood",
        [*_judgement(rows)],
        [
            Section("Model", [Prose("90 bins, one signal strength, 94 nuisances."), categories]),
            Section("Rows", [figures]),
            Section("Profile of the signal strength", [_profiles(rows, exact, simple)]),
            Section("Draws", [Image.of(corner, "Corner plot", "Flow and held-out draws.")]),
            Section("Chains", [Preformatted(chain.report(), "chains", folded=True)]),
            Section("Learned from the density alone", [Prose(learned.status.sentence), health]),
        ],
        tone="good" if good else "bad",
    )


def _profiles(rows: list[Kept], exact: Any, simple: np.ndarray) -> Image:
    with style():
        figure = new_figure(6.0, 4.0)
        _draw_profiles(figure.subplots(), rows, exact, simple)
    return Image.of(figure, "Test statistic", "Test statistic against the signal strength.")


def _draw_profiles(axes: Any, rows: list[Kept], exact: Any, simple: np.ndarray) -> None:
    axes.plot(GRID, exact.t, color="black", label="exact")
    for row in rows:
        if row.profile is not None:
            axes.plot(GRID, row.profile.t, marker="o", linestyle="none", label=row.name)
    axes.plot(GRID, exact.t + simple, linestyle="--", label="simplified likelihood")
    axes.set_xlabel(r"$\mu$")
    axes.set_ylabel(r"$t_\mu$")
    axes.legend()
