"""Running the study: learn, measure, write."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.errors import CheckpointError, SettingError
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
    write_page,
)
from posterion.reports.blocks import Block
from posterion.studies.base import Outcome, write_metrics
from posterion.studies.stress.measuring import Measured, measure_known
from posterion.studies.stress.options import Settings
from posterion.studies.stress.targets import NAMES, KnownTarget, known_target
from posterion.training import Posterior, learn, load
from posterion.training.checking import check_posterior

__all__ = ["check_result", "run_study"]

STUDY_NAME = "stress"
_HEADS = (
    "target",
    "status",
    "ESS/N",
    "at exact draws",
    "k-hat",
    "log Z error",
    "modes",
    "share off by",
    "density calls",
    "scouting",
    "seconds",
    "compiling",
)


def run_study(settings: Settings, *, seed: int, out: Path, resume: bool) -> Outcome:
    """Learn each target and write ``<target>.posterion``, ``metrics.json`` and ``report.html``.

    Raises:
        SettingError: an unknown target.
        CheckpointError: with ``resume``, what is there is of another run.
    """
    began = time.perf_counter()
    chosen = [known_target(name) for name in settings.targets or NAMES]
    done: list[Measured] = []
    files: list[Path] = []
    for known in chosen:
        path = out / f"{known.name}.posterion"
        done.append(_one(known, settings, seed, path, resume))
        files.append(path)
    seconds = time.perf_counter() - began
    metrics, page = out / "metrics.json", out / "report.html"
    figures = {k: v for measured in done for k, v in measured.figures().items()}
    write_metrics(metrics, STUDY_NAME, seed, seconds, figures)
    write_page(page, _page(done, seed))
    return Outcome(_text(done), (*files, page, metrics))


def check_result(result: Any, *, seed: int) -> Health:
    """Measure the health of a saved result anew, against its density.

    Raises:
        SettingError: it is not of this study.
    """
    if not isinstance(result, Posterior) or result.provenance.get("study") != STUDY_NAME:
        raise SettingError("the result is not one of the study 'stress': check it with its own")
    return check_posterior(result, known_target(result.name).target, seed=seed)


def _one(known: KnownTarget, settings: Settings, seed: int, path: Path, resume: bool) -> Measured:
    changes = {k: getattr(settings, k) for k in ("steps", "particles")}
    changes = {k: v for k, v in changes.items() if v is not None}
    identity = {"target": known.name, "seed": seed, **changes, "posterion": versions()["posterion"]}
    if resume and path.exists():
        result = load(path).with_target(known.target)
        if result.provenance.get("part") != identity:
            raise CheckpointError(
                f"{path} belongs to another run; give the same settings, or run without --resume"
            )
        seconds = float(result.provenance["seconds"])
    else:
        began = time.perf_counter()
        checkpoint = path.with_suffix(".checkpoint")
        if not resume:
            checkpoint.unlink(missing_ok=True)
        result = learn(known.target, seed=seed, checkpoint=checkpoint, resume=resume, **changes)
        seconds = time.perf_counter() - began
        kept = {"study": STUDY_NAME, "part": identity, "seconds": seconds}
        result = replace(result, provenance={**result.provenance, **kept})
        result.save(path)
    return measure_known(result, known, draws=settings.draws, seed=seed, seconds=seconds)


def _row(m: Measured) -> list[Any]:
    figures = {k.partition(".")[2]: v.value for k, v in m.figures().items()}
    return [
        m.known.name,
        m.result.status.name,
        f"{figures['ess_fraction']:.4f}",
        f"{m.exact.fraction.value:.4f}",
        f"{m.exact.k_hat:.2f}",
        f"{m.evidence_error:+.4f}",
        f"{m.modes_found} of {len(m.known.weights)}",
        f"{m.mode_error:.1%}",
        figures["density_calls"],
        figures["scouting_calls"],
        f"{m.seconds:.1f}",
        f"{figures['compile_seconds']:.1f}",
    ]


def _text(done: Sequence[Measured]) -> str:
    rows = [list(_HEADS), *([str(cell) for cell in _row(m)] for m in done)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    lines = [
        "  ".join(f"{c:<{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(cells)).rstrip()
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join(lines)


def _page(done: Sequence[Measured], seed: int) -> Page:
    reached = [m for m in done if m.exact.fraction.value >= m.known.goal]
    lead = (
        f"{len(reached)} of {len(done)} targets reach their goal in ESS/N at exact draws, with one "
        f"set of settings and seed {seed}. Where the support is the line, modes were searched for "
        f"over ± 50."
    )
    table = Table(
        _HEADS,
        [_row(m) for m in done],
        "ESS/N: of the flow's own weights, and at exact draws of the target (1 / E[p/q], "
        "Pareto-smoothed); modes: found within 10 % of their share",
    )
    sections = [Section("Figures", [table])]
    sections += [Section(m.known.name, _blocks(m, seed)) for m in done]
    good = len(reached) == len(done)
    return Page("Stress targets", [lead], sections, tone="good" if good else "warn")


def _blocks(m: Measured, seed: int) -> list[Block]:
    blocks: list[Block] = [Prose(f"{m.known.feature.capitalize()}. {m.result.status.sentence}")]
    if m.known.dim == 2:
        n = 50_000
        exact = m.known.draw(np.random.default_rng([seed, 72]), n)
        layers = [
            Layer.of(m.result, label="flow", n=n, seed=seed),
            Layer.of_draws({"x": exact}, m.result.parameters, label="exact"),
        ]
        picture = Image.of(
            corner_plot(layers),
            f"Draws of {m.known.name}",
            "Draws of the flow (filled) and exact ones.",
        )
        blocks.append(picture)
    blocks.append(Preformatted(m.result.health.text(100), "health", folded=True))
    return blocks
