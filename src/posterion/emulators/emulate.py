"""``emulate``: from inputs and outputs of an expensive theory to predictions with error bars.

1. Rows are divided by their bits: training, correction, test. 2. Each chain starts at a network of
its own, trained by Adam, and samples weights, hyperparameters and noise. 3. What the networks say
of the correction rows gives the conformal factors, what they say of the test rows the health.
"""

import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import SampleError, SettingError
from posterion.core.progress import progress
from posterion.core.versions import versions
from posterion.emulators.approximations import APPROXIMATIONS, Approximation
from posterion.emulators.assessing import assessed
from posterion.emulators.chains import Walked, walk_networks
from posterion.emulators.density import Data, Joint, data_of
from posterion.emulators.emulator import Emulator
from posterion.emulators.kernels import Kernel, make_kernel
from posterion.emulators.likelihoods import Bernoulli, Categorical, Likelihood, make_likelihood
from posterion.emulators.priors import WeightPrior, make_prior
from posterion.emulators.tables import (
    Columns,
    columns_of,
    numbers_of,
    uniform_of_rows,
    warn_of_twins,
)
from posterion.emulators.warming import warm_start
from posterion.networks import Architecture, mlp

Floats = NDArray[np.float64]

_FEWEST = 20  # rows

CITATIONS = ("posterion", "jax2018", "kidger2021", "cabezas2024", "kingma2015")


def emulate(
    x: Any,
    y: Any,
    *,
    network: Architecture | eqx.Module | None = None,
    likelihood: str | Likelihood = "gaussian",
    prior: Any = "gaussian",
    sampler: str | Kernel | Approximation = "mclmc",
    log: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    chains: int = 4,
    draws: int = 50,
    warmup: int = 600,
    thin: int = 10,
    epochs: int = 100,
    batch: int = 256,
    rate: float | int = 3e-3,
    correction: float | int = 0.1,
    test: float | int = 0.1,
    seed: int = 0,
    path: str | Path | None = None,
    resume: bool = False,
    seconds: float | int | None = None,
    quiet: bool | None = None,
    name: str = "emulator",
) -> Emulator:
    """Samples networks that give ``y`` for ``x``.

    Args:
        x: inputs, a row a point: an array (n, inputs), a dict, a DataFrame or a table's path.
        y: targets: an array (n,) or (n, targets), a dict, a DataFrame, a table's path, or names of
            columns of ``x``, which then are no inputs.
        network: of `posterion.networks.mlp` or `posterion.networks.convolutional`, or any Equinox
            module from ``(inputs,)`` to the likelihood's outputs; three layers of 50 by default.
        likelihood: ``"gaussian"``, ``"heteroscedastic"``, ``"student-t"``, ``"bernoulli"``,
            ``"categorical"`` or a :class:`~posterion.emulators.Likelihood`.
        prior: ``"gaussian"``, ``"laplace"``, ``"cauchy"``, ``"hierarchical-gaussian"``,
            ``"hierarchical-cauchy"``, ``"horseshoe"``, a NumPyro distribution or one for each group
            of weights, or a :class:`~posterion.emulators.WeightPrior`.
        sampler: ``"mclmc"``, ``"adjusted-mclmc"``, ``"nuts"``, ``"hmc"``, ``"alternated"``,
            ``"sghmc"``, ``"rmhmc"``, ``"l2hmc"`` or a kernel; or, quicker and less exact,
            ``"ensemble"``, ``"laplace"``, ``"mean-field"``, ``"swag"`` or an
            :class:`~posterion.emulators.Approximation`, which begin at the ``chains`` networks.
        log: names of inputs and targets whose logarithm is taken; an array's are ``x[0]``, ``y``.
        units: of columns, by name; of a table's path they are those of the file.
        chains: each with a start of its own.
        draws: networks kept of each chain.
        warmup: transitions before, that tune the sampler.
        thin: transitions for each network that is kept.
        epochs: of Adam, before the chains.
        batch: rows of a step of Adam.
        rate: of Adam at the start.
        correction: share of rows that the conformal factors are taken from.
        test: share of rows that the health is taken from.
        seed: of everything.
        path: file in which the chains are kept as they grow; it is removed at the end.
        resume: go on from that file, if it is there.
        seconds: that the chains may take, about; the result then depends on the machine.
        quiet: no progress bar; by default only where there is no terminal.
        name: for reports and files.

    Returns:
        The emulator: ``print(emulator)`` is its health, ``emulator.predict(x_new)``.

    Raises:
        SampleError: rows that cannot be learned from; the message names rows and columns.
        SettingError: unknown or unusable settings.
        CheckpointError: the file is of another run.
    """
    if not (correction >= 0 and test >= 0 and correction + test < 0.9):
        raise SettingError(f"correction and test are shares of the rows: {correction}, {test}")
    if chains < 1 or epochs < 1 or batch < 1 or not rate > 0 or seed < 0:
        raise SettingError(
            f"chains, epochs, batch and rate must be positive and the seed not negative, got "
            f"{chains}, {epochs}, {batch}, {rate}, {seed}"
        )
    weights_prior = make_prior(prior)
    quick = _approximation(sampler)
    kernel = None if quick is not None else make_kernel(sampler)
    table_x, table_y, given = _tables(x, y)
    known = given | dict(units or {})
    if unknown := sorted(set(known) - set(table_x) - set(table_y) - set(given)):
        raise SettingError(f"units: no column {', '.join(unknown)}")
    rows_x, rows_y = (np.stack(list(t.values()), axis=1) for t in (table_x, table_y))
    _check_rows(rows_x, list(table_x), rows_y, list(table_y))
    chosen = make_likelihood(likelihood, max(2, int(rows_y.max()) + 1))
    _check_labels(chosen, rows_y, list(table_y))
    place = uniform_of_rows(rows_x)
    parts = {
        "test": place < test,
        "correction": (place >= test) & (place < test + correction),
        "training": place >= test + correction,
    }
    taken = parts["training"]
    inputs, targets = _scales(table_x, table_y, known, list(log), chosen, taken)
    twins = warn_of_twins(rows_x, rows_y)
    scaled_x = inputs.scaled(rows_x).astype(np.float32)
    scaled_y = targets.scaled(rows_y).astype(np.float32)
    joint, starts = _starts(network, weights_prior, chosen, scaled_x, scaled_y, chains, seed)
    data = data_of(scaled_x[taken], scaled_y[taken])
    began = time.perf_counter()
    with progress(f"emulating {name}", quiet=quiet, total=chains * epochs) as bar:
        warmed, history = _warmed(
            joint, starts, scaled_x[taken], scaled_y[taken], data, epochs, batch, rate, seed, bar
        )
        adam = time.perf_counter() - began
        whole = warmup + draws * thin
        bar.update(0, total=whole, description=f"sampling {name}")
        if kernel is None:
            table = scaled_x[taken], scaled_y[taken], data
            walked = _without_chains(quick, joint, warmed, table, draws, batch, seed)
        else:
            walked = walk_networks(
                joint,
                data,
                warmed,
                kernel,
                draws=draws,
                warmup=warmup,
                thin=thin,
                seed=seed,
                path=path,
                resume=resume,
                identity={"name": name, "rows": len(rows_x), "start": float(np.abs(warmed).sum())},
                max_seconds=seconds,
                on_wake=lambda done, calls: bar.update(done, calls=calls),
            )
        if not walked.theta.shape[1]:
            raise SettingError(
                "the time ended before the first network: give more `seconds`, and resume"
            )
        blank = Emulator(
            name=name,
            network=joint.network(jnp.asarray(warmed[0])),
            prior=weights_prior,
            likelihood=chosen,
            theta=walked.theta,
            inputs=inputs,
            targets=targets,
            factors=np.empty((0, len(table_y))),
            history=history,
            settings={
                "likelihood": repr(chosen),
                "prior": repr(weights_prior),
                "sampler": repr(quick if kernel is None else kernel),
                "draws": draws,
                "warmup": warmup,
                "thin": thin,
                "epochs": epochs,
                "batch": batch,
                "rate": rate,
                "correction": correction,
                "test": test,
                "seed": seed,
            },
            versions=versions(),
            citations=CITATIONS,
            provenance={
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "rows": {part: int(which.sum()) for part, which in parts.items()},
                "rows_with_equal_inputs": twins,
                "python": platform.python_version(),
                "machine": platform.machine(),
            },
        )
        bar.update(description=f"checking {name}")
        result = assessed(blank, walked, rows_x, rows_y, parts, adam)
    if path is not None and walked.complete:
        Path(path).unlink(missing_ok=True)
    return result


def _approximation(sampler: Any) -> Approximation | None:
    if isinstance(sampler, Approximation):
        return sampler
    return APPROXIMATIONS.get(sampler) if isinstance(sampler, str) else None


def _without_chains(
    quick: Any, joint: Joint, warmed: np.ndarray, table: Any, draws: int, batch: int, seed: int
) -> Walked:
    """Networks of an approximation, as if chains had drawn them; there is no tuning to tell of."""
    began = time.perf_counter()
    theta = quick.networks(joint, warmed, table, draws=draws, batch=batch, seed=seed)
    none = np.zeros(theta.shape[:2], np.float32)
    statistics = {"diverging": none.astype(int)}
    seconds = time.perf_counter() - began
    return Walked(theta, none, statistics, None, 0, 0, seconds, True)


def _tables(x: Any, y: Any) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, str]]:
    table_x, units = numbers_of(x, "x")
    wanted = [y] if isinstance(y, str) and y in table_x else y
    if isinstance(wanted, list | tuple) and wanted and all(isinstance(n, str) for n in wanted):
        if missing := [n for n in wanted if n not in table_x]:
            raise SampleError(
                f"no column {', '.join(missing)} to be a target; there is {', '.join(table_x)}"
            )
        table_y = {n: table_x.pop(n) for n in wanted}
    elif isinstance(y, str) and not Path(y).suffix:
        raise SampleError(f"no column {y} to be a target; there is {', '.join(table_x)}")
    else:
        table_y, more = numbers_of(y, "y")
        units = units | more
    if both := sorted(set(table_x) & set(table_y)):
        raise SampleError(f"{both[0]} is among the inputs and the targets: leave one out")
    if not table_x:
        raise SampleError("no column is left to be an input")
    rows = {len(next(iter(t.values()))) for t in (table_x, table_y)}
    if len(rows) > 1:
        raise SampleError(f"inputs and targets have different numbers of rows: {sorted(rows)}")
    return table_x, table_y, units


def _check_rows(x: Floats, x_names: list[str], y: Floats, y_names: list[str]) -> None:
    for values, names in ((x, x_names), (y, y_names)):
        fine = np.isfinite(values)
        if not fine.all():
            row, column = np.argwhere(~fine)[0]
            raise SampleError(
                f"{int((~fine).any(axis=1).sum())} rows are not finite, the first is row {row} in "
                f"{names[column]!r}: leave them out"
            )
    needed = max(_FEWEST, x.shape[1] + 1)
    if len(x) < needed:
        raise SampleError(f"{len(x)} rows are too few for {x.shape[1]} inputs: {needed} are needed")


def _check_labels(likelihood: Likelihood, y: Floats, names: list[str]) -> None:
    if isinstance(likelihood, Bernoulli) and not np.isin(y, (0, 1)).all():
        odd = sorted({float(v) for v in y[~np.isin(y, (0, 1))][:5]})
        raise SampleError(f"labels are 0 or 1, but {', '.join(names)} holds {odd} as well")
    if isinstance(likelihood, Categorical):
        whole = (y == np.round(y)) & (y >= 0) & (y < likelihood.classes)
        if not whole.all():
            raise SampleError(
                f"classes are numbers 0 ... {likelihood.classes - 1}, but {', '.join(names)} holds "
                f"{float(y[~whole][0])}"
            )


def _scales(
    table_x: dict[str, Floats],
    table_y: dict[str, Floats],
    units: dict[str, str],
    log: list[str],
    likelihood: Likelihood,
    taken: NDArray[np.bool_],
) -> tuple[Columns, Columns]:
    """Of inputs and targets, from the training rows."""
    if unknown := sorted(set(log) - set(table_x) - set(table_y)):
        known = ", ".join([*table_x, *table_y])
        raise SettingError(f"log: no column {', '.join(unknown)}; there is {known}")
    labels = isinstance(likelihood, Bernoulli | Categorical)
    if labels and (marked := sorted(set(log) & set(table_y))):
        raise SettingError(f"log: {', '.join(marked)} holds labels, which have no logarithm")
    for table in (table_x, table_y):  # every row, training or not, must have its logarithm
        columns_of(table, {}, [n for n in log if n in table], scaled=False)
    found = []
    for table, scaled in ((table_x, True), (table_y, not labels)):
        part = {name: column[taken] for name, column in table.items()}
        found.append(columns_of(part, units, [n for n in log if n in table], scaled=scaled))
    return found[0], found[1]


def _starts(
    network: Any,
    prior: WeightPrior,
    likelihood: Likelihood,
    x: np.ndarray,
    y: np.ndarray,
    chains: int,
    seed: int,
) -> tuple[Joint, np.ndarray]:
    """The density, and a vector for each chain."""
    ins, targets = x.shape[1], y.shape[1]
    outs = likelihood.outputs(targets)
    network = mlp() if network is None else network
    starts = []
    joint = None
    for chain in range(chains):
        key = jax.random.fold_in(jax.random.key(seed), chain)
        if isinstance(network, Architecture):
            built = network.build(ins, outs, key=key)
        else:
            built = network if chain == 0 else _shaken(network, key)
        joint, start = Joint.of(built, prior, likelihood, targets)
        starts.append(np.asarray(start))
    if joint is None:
        raise SettingError("chains must be positive")
    try:
        shape = eqx.filter_eval_shape(
            joint.outputs, jnp.asarray(starts[0]), jnp.asarray(x[:2])
        ).shape
    except (TypeError, ValueError) as error:
        raise SettingError(f"the network does not take {ins} inputs: {error}") from error
    if shape != (2, outs):
        raise SettingError(
            f"the network gives {shape[1:]} for a point, the likelihood needs ({outs},)"
        )
    return joint, np.stack(starts)


def _shaken(network: eqx.Module, key: Any) -> eqx.Module:
    """A module with its weights' signs drawn anew: of the same size, and another start."""
    weights, still = eqx.partition(network, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(weights)
    drawn = [
        leaf * jax.random.rademacher(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return eqx.combine(jax.tree.unflatten(structure, drawn), still)


def _warmed(
    joint: Joint,
    starts: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    data: Data,
    epochs: int,
    batch: int,
    rate: float | int,
    seed: int,
    bar: Any,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    found, losses = [], []
    for chain, start in enumerate(starts):
        theta, scores = warm_start(
            joint,
            start,
            x,
            y,
            data,
            epochs=epochs,
            batch=batch,
            rate=rate,
            seed=seed + 7919 * chain,
        )
        found.append(theta)
        losses += scores
        bar.update((chain + 1) * epochs, loss=scores[-1])
    lines = np.arange(len(losses))
    return np.stack(found), {
        "chain": lines // epochs,
        "epoch": lines % epochs,
        "loss": np.asarray(losses),
    }
