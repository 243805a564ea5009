"""``fit``: from samples to their density, with draws, a health report and a file.

1. The samples are looked through once: what cannot be used is named, and the frame is found, in
   which coordinates are of order one and live on the line or on circles. 2. The flow learns in
   compiled segments of shuffled batches; held-out rows decide when to stop and what is kept.
3. Fresh draws are compared with the held-out rows.
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from posterion.core.errors import SettingError
from posterion.core.progress import progress
from posterion.core.settings import check_whole
from posterion.core.versions import versions
from posterion.distributions.manifold import ManifoldFlow
from posterion.optimisation import Checkpoint, Placement
from posterion.targets.parameter import Parameter
from posterion.targets.target import Target
from posterion.training.examining import examine
from posterion.training.feeding import feed
from posterion.training.fitted import Fit
from posterion.training.losses import Learnable, Loss
from posterion.training.preparing import Prepared, prepare
from posterion.training.ranges import classes_in
from posterion.training.recipe import Settled, losses_of, make_fit_method
from posterion.training.running import Run
from posterion.training.samples import Samples, gather_samples
from posterion.training.summaries import sets_of
from posterion.training.supports import core_and_support, symmetry, warn_if_slow

CITATIONS = ("posterion", "kingma2015", "jax2018", "kidger2021")


def fit(
    flow: Learnable,
    samples: Any,
    *,
    weights: Any = None,
    context: Any = None,
    key: str | Sequence[str] | None = None,
    parameters: Sequence[Parameter] | None = None,
    target: Target | None = None,
    loss: str | Loss | None = None,
    seed: int = 0,
    drop: bool = False,
    devices: Sequence[Any] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    quiet: bool | None = None,
    name: str = "samples",
    **changes: Any,
) -> Fit:
    """Fits a flow to samples.

    Args:
        flow: of :mod:`posterion.flows`; its bounds are the support of the samples.
        samples: an array (n, dim), a dict of arrays, a DataFrame, a
            :class:`~posterion.sampling.Chain`, or a table's path: ``.parquet .h5 .root .npz .csv``.
            Files larger than a quarter of a GB are read anew in each epoch, in bounded memory.
        weights: one a row, or the name of a column.
        context: the condition of each row, (n, width), by name, or names of columns. Indexes of
            DataFrames must agree. For a flow `posterion.summarised` by a network of sets (n,
            points, features), or a list of arrays (points, features): missing points are NaN, at
            the end.
        key: column, or columns, of two tables by which samples and context are paired.
        parameters: names, units, labels and bounds of the coordinates.
        target: the density that the samples are of, where it is known: for
            ``loss="samples_and_density"``, and kept with the result.
        loss: ``"nll"``, ``"samples_and_density"``, ``"flow_matching"``,
            ``"discflow"`` (a classifier gives weight to what the flow misses), or a
            :class:`~posterion.training.losses.Loss`. For a `posterion.quantile_network` the default
            is ``"quantile"``; ``"quantile_tanh"`` looks less at far tails, ``"expectile"`` learns
            the mean, and what is to squares as quantiles are to distances. A
            `posterion.conditional_gan` learns by ``"wgan-gp"``, a flow on a surface learns the
            surface first, then the density on it.
        seed: of everything.
        drop: leave out rows that are not finite or outside of the support; they are counted.
        devices: that share each batch; the result is that of one, up to the order of sums.
        checkpoint: file in which the fit is kept as it goes.
        resume: go on from that file, if it is there.
        quiet: no progress bar; by default only where there is no terminal.
        name: for reports and files.
        changes: settings of the :class:`~posterion.training.FitMethod`, such as ``epochs=50``.

    Returns:
        The fit: ``print(fit)`` is its health, ``fit.sample(n, seed=...)``, ``fit.log_prob(x)``.

    Raises:
        SampleError: samples that cannot be learned from; the message names rows and columns.
        SettingError: unknown or unusable settings, or a flow that does not suit the samples.
        CheckpointError: the checkpoint is of another fit.
        InterruptedLearning: Ctrl-C; the message says how to resume.
    """
    if not hasattr(flow, "event_shape"):
        raise SettingError(
            "the first argument is what learns, such as posterion.quantile_network(2, 3) or "
            f"posterion.flows.maf(2); got a {type(flow).__name__}"
        )
    method = make_fit_method(changes)
    check_whole(least=0, seed=seed)
    if resume and checkpoint is None:
        raise SettingError("resume needs the file to go on from: give checkpoint=")
    if parameters is None and target is not None:
        parameters = target.parameters
    given = gather_samples(
        samples,
        weights=weights,
        context=context,
        parameters=parameters,
        key=key,
        sets=sets_of(flow),
    )
    core, support, described = core_and_support(flow, given, declared=parameters is not None)
    given = replace(given, parameters=described)
    warn_if_slow(core, "inverse")
    if target is not None and list(target.names) != (named := [p.name for p in described]):
        raise SettingError(
            f"the target's parameters are {', '.join(target.names)}, those given "
            f"{', '.join(named)}: leave parameters= out, and columns are matched by name"
        )
    losses = losses_of(loss, core, target, method)
    expectiles = getattr(losses[-1], "power", 1) == 2
    if expectiles and (given.dim > 1 or set(support.kinds) != {"real"}):
        raise SettingError("expectiles are of one outcome without bounds: fit one after the other")
    commuting = symmetry(core)
    # Full whitening would mix what a group tells apart, and raise noise to the surface's size.
    mixes = commuting is not None or isinstance(core, ManifoldFlow)
    whiten = "scale" if mixes and method.whiten == "full" else method.whiten
    prepared = prepare(
        given,
        support,
        whiten=whiten,
        mixes=method.whiten == "full",
        drop=drop,
        commuting=commuting,
        quiet=quiet,
    )
    settled = method.settled(losses[-1], prepared.rows)
    split = seed if method.split is None else method.split
    fed = feed(given, prepared, batch=settled.batch, validation=settled.validation, seed=split)
    identity = {
        "fit": name,
        "parameters": [c for p in described for c in p.columns],
        "context": list(given.context),
        "rows": prepared.rows,
        "location": np.asarray(prepared.frame.whitening.location).tolist(),
        "seed": seed,
        "loss": str(losses),
        "method": {k: str(v) for k, v in asdict(settled).items()},
    }
    if given.context:
        identity["conditions"] = prepared.seen_by
    run = Run(
        core, fed, settled, losses, seed, Placement(devices), Checkpoint(checkpoint, identity)
    )
    began = time.perf_counter()
    with progress(f"fitting {name}", quiet=quiet) as bar:
        try:
            stop = run.go(bar, resume)
        except KeyboardInterrupt as error:
            raise run.interrupted(name) from error
        seconds = {"fitting": time.perf_counter() - began - run.compiling}
        bar.update(description=f"checking {name}")
        blank = _assemble(name, run, given, prepared, target, settled, seed)
        blank = replace(blank, expectiles=expectiles)
        result = examine(blank, fed, run.loss, run.outcome(stop, seconds), seed=seed)
    run.kept.remove()
    return result


def _assemble(
    name: str,
    run: Run,
    given: Samples,
    prepared: Prepared,
    target: Target | None,
    method: Settled,
    seed: int,
) -> Fit:
    """The fit before its health is known."""
    return Fit(
        name=name,
        parameters=given.parameters,
        flow=eqx.combine(run.best_params, run.still),
        frame=prepared.frame,
        context=given.context,
        context_location=prepared.location,
        context_scale=prepared.scale,
        context_mixing=prepared.mixing,
        context_range=prepared.seen if given.context else None,
        classes=classes_in(given.context, run.fed.valid["given"]),
        form=given.form,
        history=run.history(),
        settings={**asdict(method), "loss": " then ".join(map(str, run.losses)), "seed": seed},
        versions=versions(),
        citations=CITATIONS,
        provenance={
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seed": seed,
            "rows": prepared.rows,
            "effective_rows": prepared.effective,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        target=target,
    )
