"""``check_calibration``: whether p(theta | x) holds what it states, over the whole prior."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from posterion.core.errors import DensityError, SettingError
from posterion.core.progress import progress
from posterion.diagnostics.calibrated import Calibration
from posterion.diagnostics.calibration import calibration_of
from posterion.targets.target import unflatten_theta
from posterion.training.categories import are_classes, whole_name
from posterion.training.conditional import flat_draws
from posterion.training.pairing import joined, read_if_path, require_same_order
from posterion.training.ranges import said_once
from posterion.training.samples import Samples, conditions_of, gather_samples
from posterion.training.summaries import shown

__all__ = ["beside_context", "check_calibration", "pairs_of"]

_AT_ONCE = 200_000


def check_calibration(
    posterior: Any,
    theta: Any,
    context: Any = None,
    *,
    draws: int = 400,
    density: bool = True,
    quantities: Mapping[str, Callable[[dict[str, np.ndarray], np.ndarray], Any]] | None = None,
    alpha: float | int = 0.01,
    seed: int = 0,
    quiet: bool | None = None,
) -> Calibration:
    """Simulation-based calibration of a conditional fit; printing what comes back gives the report.

    Each pair is a theta drawn from the prior and the context that it produced; the fit must not
    have seen it. The rank of theta among the draws given its context is uniform if the posterior is
    right: for every coordinate, for the log-density, and for the distance to a point that depends
    on the context (see `posterion.diagnostics.calibration_of`).

    Args:
        posterior: a conditional `Fit`, or whatever has ``parameters``, ``context`` (names of its
            columns), ``sample(n, context=, seed=)`` and, for ``density``, ``log_prob(x, context)``.
        theta: parameters, one a row: an array ``(n, d)``, a dict, a DataFrame, or a table's path.
        context: ``(n, width)``, by name, or sets as `fit` takes them; by default columns of
            ``theta`` of these names.
        draws: from each posterior; the tails beyond three standard deviations take 370.
        density: whether the log-density is ranked; costs ``n * draws`` of its evaluations.
        quantities: further functions by name, of parameters (a dict of arrays ``(n, *shape)``) and
            context ``(n, width)``, to ``(n,)``: what will be quoted, or the log-likelihood.
        alpha: probability that a right posterior is rejected, at the most.
        seed: of the draws.
        quiet: no progress bar.

    Raises:
        SettingError: the posterior has no context, or too few pairs or draws.
        SampleError: theta and context do not fit; ThetaError: a column is missing.
    """
    x, rows, _, given = pairs_of(posterior, theta, context)
    parameters = tuple(posterior.parameters)
    columns = [column for parameter in parameters for column in parameter.columns]
    n, d = x.shape
    drawn = np.empty((n, draws, d))
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    log_prob, notes = None, list(given.notes)
    density = density and not getattr(posterior, "on_surface", False)
    step = max(1, _AT_ONCE // draws)
    with said_once(posterior, rows), progress("calibrating", total=n, quiet=quiet) as bar:
        for number, start in enumerate(range(0, n, step)):
            part = slice(start, start + step)
            drawn[part] = flat_draws(
                posterior.sample(draws, context=rows[part], seed=seed + number)
            )
            if density:
                log_prob = log_prob or (np.empty(n), np.empty((n, draws)))
                try:
                    log_prob[0][part] = posterior.log_prob(x[part], rows[part])
                    each = np.repeat(rows[part], draws, axis=0)
                    values = posterior.log_prob(drawn[part].reshape(-1, d), each)
                except (DensityError, NotImplementedError):
                    density, log_prob = False, None
                    notes.append("the posterior has no density: its ranks are not looked at")
                else:
                    log_prob[1][part] = values.reshape(-1, draws)
            bar.update(min(start + step, n))
    for name, function in (quantities or {}).items():
        each = np.repeat(rows, draws, axis=0)
        found[name] = (
            np.asarray(function(unflatten_theta(parameters, x), rows), np.float64),
            np.asarray(
                function(unflatten_theta(parameters, drawn.reshape(-1, d)), each), np.float64
            ).reshape(n, draws),
        )
    if log_prob is not None and np.isnan(log_prob[0]).any():
        lost = np.isnan(log_prob[0])
        notes.append(f"{lost.sum()} truths lie where the posterior has no density: ranked lowest")
        log_prob[0][lost] = -np.inf
    return calibration_of(
        x,
        drawn,
        context=shown(posterior, rows)[0],
        names=columns,
        log_prob=log_prob,
        quantities=found,
        alpha=alpha,
        name=str(getattr(posterior, "name", "posterior")),
        notes=notes,
        seed=seed,
    )


def pairs_of(
    posterior: Any,
    theta: Any,
    context: Any,
    *,
    weights: Any = None,
    key: str | Sequence[str] | None = None,
    what: str = "theta",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Samples]:
    """Parameters ``(n, d)``, conditions ``(n, width)`` and weights of pairs, and what is known.

    Args:
        posterior: has ``parameters`` and ``context``, the names of its columns.
        theta: parameters, one a row, as in `check_calibration`.
        context: ``(n, width)``, by name, or ``None`` for columns of ``theta``.
        weights: of the rows, as in `fit`.
        key: column, or columns, by which rows of both are paired, as in `fit`.
        what: the first is called in messages.

    Raises:
        SettingError: the posterior has no context.
        SampleError: theta and context do not fit; ThetaError: a column is missing.
    """
    if not getattr(posterior, "context", ()):
        raise SettingError(
            f"{getattr(posterior, 'name', 'this')!r} has no context: a posterior of one data set "
            "has nothing to average over; `compare` holds its draws against samples"
        )
    if key is not None:
        theta, context = joined(theta, context, key)
    theta, context = read_if_path(theta), read_if_path(context)
    require_same_order(**{what: theta, "context": context})
    if context is None:
        theta, beside = beside_context(theta, posterior)
    else:
        beside = conditions_of(posterior, context)
    given = gather_samples(theta, weights=weights, context=beside, parameters=posterior.parameters)
    return *given.cut(np.concatenate(list(given.rows.chunks()))), given


def beside_context(theta: Any, posterior: Any) -> tuple[Any, Any]:
    """The columns of a table that are no context, and the rows of those that are.

    Args:
        theta: a table by name.
        posterior: has ``parameters`` and ``context``, the names of its columns.

    Raises:
        SettingError: no table with names.
        ThetaError: a column of the context is missing.
    """
    names = tuple(posterior.context)
    if not (isinstance(theta, Mapping) or hasattr(theta, "columns")):
        raise SettingError(
            f"give the context, {', '.join(names)}: context=, or columns of a table beside "
            f"{', '.join(parameter.name for parameter in posterior.parameters)}"
        )
    taken = {*names, *map(whole_name, names)}
    beside = {name: theta[name] for name in theta if name in taken}
    rest = {name: theta[name] for name in theta if name not in taken}
    rest = {name: column for name, column in rest.items() if not are_classes(column)}
    return rest, conditions_of(posterior, beside)
