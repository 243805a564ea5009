"""What every verb returns: the questions that any result answers."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core.columns import Column, column_matrix, columns_of, pick
from posterion.core.errors import DensityError, SettingError, ShapeError
from posterion.core.interchange import inference_data
from posterion.core.marginal import Marginal
from posterion.core.providers import provider
from posterion.core.summary import LEVELS, Summary, summarise

__all__ = ["Derived", "Result", "Weighted"]

DRAWS = 100_000
"""Draws that a question is answered from unless asked otherwise."""

_SAID = ("analysis", "dataset")


@dataclass(frozen=True, eq=False)
class Weighted:
    """Draws by name, their weights (None: all equal), and what to know about them."""

    draws: dict[str, np.ndarray]
    weights: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Derived:
    """The distribution of functions of the parameters; printing it gives its summary.

    Args:
        draws: name to ``(n, *shape)``.
        summary: of all of them.
        weights: ``(n,)``; None where all are equal.
    """

    draws: dict[str, np.ndarray]
    summary: Summary
    weights: np.ndarray | None = field(default=None)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.draws[name]

    def __repr__(self) -> str:
        return str(self.summary)

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


class Result:
    """Base of every result; the questions below need only what is annotated here.

    A subclass is a dataclass (``repr=False``, ``eq=False``) that has these as fields or properties,
    gives `sample` and `log_prob`, and, for `as_numpyro`, the traced functions ``_sample_flat(key,
    shape)`` to ``(*shape, dim)`` and ``_log_prob_flat(x)`` from ``(n, dim)`` to ``(n,)``.

    ``seed`` below is that of the draws which answer the question, and ``weighted`` corrects them by
    importance weights, for which the density must be at hand.
    """

    kind: Any
    name: Any
    parameters: Any
    health: Any
    history: Any
    settings: Any
    versions: Any
    citations: Any
    provenance: Any

    def sample(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        """``n`` independent draws by parameter name, float64 ``(n, *shape)``."""
        raise NotImplementedError(f"{type(self).__name__} draws nothing")

    def log_prob(self, theta: Mapping[str, Any]) -> np.ndarray:
        """Normalised log-density at ``n`` points, in the stated units, ``(n,)``."""
        raise NotImplementedError(f"{type(self).__name__} has no density")

    def named(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        """The draws of `sample` by parameter name, whatever form that gives."""
        return self.sample(n, seed=seed)

    def importance_sample(self, n: int, *, seed: int) -> Any:
        """``n`` draws with ``draws``, ``log_weights``, ``log_p`` and ``log_q``.

        Raises:
            DensityError: the density is not at hand.
        """
        raise DensityError(f"{self.name!r} has no density to weigh its draws with")

    @property
    def has_density(self) -> bool:
        """Whether the density that was learned is at hand: a file does not hold it."""
        return getattr(self, "target", None) is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the coordinates, ``w[0]``, ``w[1]``, ... for a vector."""
        return tuple(column.name for column in columns_of(self.parameters))

    def summary(
        self,
        names: str | Iterable[str] | None = None,
        *,
        n: int = DRAWS,
        seed: int = 0,
        weighted: bool = False,
        levels: Iterable[float | int] = LEVELS,
    ) -> Summary:
        """Means, spreads, intervals, covariance; to pandas and to LaTeX.

        Args:
            names: of parameters or of their elements; all by default.
            n: number of draws.
            seed: of the draws.
            weighted: correct by importance weights.
            levels: probabilities of the intervals.

        Raises:
            ThetaError: an unknown name.
            DensityError: ``weighted`` without the density.
        """
        columns, x, given = self._columns(names, n, seed, weighted)
        return summarise(columns, x, given.weights, levels=tuple(levels), notes=given.notes)

    def derive(
        self,
        function: Callable[[dict[str, np.ndarray]], Any],
        *,
        n: int = DRAWS,
        seed: int = 0,
        weighted: bool = False,
        units: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        periods: Mapping[str, tuple[float | int, float | int]] | None = None,
    ) -> Derived:
        """The distribution of a function of the parameters.

        Args:
            function: from arrays ``(n, *shape)`` by parameter name to an array ``(n, ...)``, or to
                several by name. NumPy or JAX; JAX computes in float64.
            n: number of draws.
            seed: of the draws.
            weighted: correct by importance weights.
            units: by derived name (one array alone is called ``derived``).
            labels: in LaTeX with its dollars, by derived name.
            periods: derived name to the bounds that are one point.

        Raises:
            ShapeError: the function gives something else than arrays with ``n`` rows.
            DensityError: ``weighted`` without the density.
        """
        given = self.draw(n, seed=seed, weighted=weighted)
        with _float64():
            values = function(dict(given.draws))
            values = dict(values) if isinstance(values, Mapping) else {"derived": values}
            derived = {str(k): _rows(str(k), v, n) for k, v in values.items()}
        for what in (units, labels, periods):
            unknown = set(what or ()) - set(derived)
            if unknown:
                raise SettingError(
                    f"nothing derived is called {', '.join(sorted(unknown))}; there is "
                    f"{', '.join(derived)}"
                )
        columns: list[Column] = []
        for name, array in derived.items():
            lower, upper = (periods or {}).get(name, (None, None))
            unit, label = (units or {}).get(name, ""), (labels or {}).get(name)
            for index in np.ndindex(*array.shape[1:]):
                part = f"[{','.join(map(str, index))}]" if index else ""
                shown = None if label is None else label + part
                columns.append(Column(name + part, unit, shown, lower, upper, lower is not None))
        x = np.concatenate([array.reshape(n, -1) for array in derived.values()], axis=1)
        summary = summarise(columns, x, given.weights, notes=given.notes)
        return Derived(derived, summary, given.weights)

    def marginal(
        self,
        names: str | Iterable[str],
        *,
        n: int = DRAWS,
        seed: int = 0,
        weighted: bool = False,
    ) -> Marginal:
        """The posterior of some parameters: draws, and their density on a grid.

        Args:
            names: of parameters or of their elements.
            n: number of draws.
            seed: of the draws.
            weighted: correct by importance weights.

        Raises:
            ThetaError: an unknown name.
            DensityError: ``weighted`` without the density.
        """
        columns, x, given = self._columns(names, n, seed, weighted)
        sample = x[:, 0] if len(columns) == 1 else x
        return Marginal(columns, sample, given.weights, given.notes)

    def to_arviz(self, *, n: int = 10_000, seed: int = 0) -> Any:
        """ArviZ InferenceData of ``n`` independent draws, as one chain.

        ``sample_stats`` holds ``lp``, the log-density of the flow; where the density is at hand
        ``lp`` is that, beside ``log_q``, the flow's, and ``log_weight``. The draws themselves are
        the flow's, unweighted.
        """
        if self.has_density:
            found: Any = self.importance_sample(n, seed=seed)
            draws = found.draws
            statistics = {
                "lp": found.log_p,
                "log_q": found.log_q,
                "log_weight": found.log_weights,
            }
        else:
            draws = self.named(n, seed=seed)
            statistics = {"lp": self.log_prob(draws)}
        units = {p.name: p.unit for p in self.parameters if p.unit}
        attributes = {"created_by": "posterion", "kind": self.kind, "name": self.name}
        return inference_data(draws, statistics, units, attributes)

    def as_numpyro(self) -> Any:
        """A NumPyro distribution: this posterior as the prior of the next analysis.

        An event is a flat vector in the order of `columns`; see
        `posterion.core.as_numpyro.PosteriorDistribution`.
        """
        from posterion.core.as_numpyro import PosteriorDistribution

        return PosteriorDistribution(self)

    def corner(self, **options: Any) -> Any:
        """The corner plot, a Matplotlib figure; options as `posterion.reports.posterior.corner`."""
        return provider("corner")(self, **options)

    def report(self, path: str | Path, **options: Any) -> None:
        """Write one self-contained HTML page; options as `posterion.reports.posterior_page`."""
        provider("report")(self, path, **options)

    def contours(self, path: str | Path, **options: Any) -> None:
        """Write a page on which the reader picks two parameters and sees their contours.

        Options as `posterion.reports.contours_page`: ``samples``, ``names``, ``n``, ``seed``.
        """
        provider("contours")(self, path, **options)

    def export_onnx(self, folder: str | Path) -> dict[str, Any]:
        """Write ``log_prob.onnx``, ``sample.onnx`` and ``card.json``, which need no Posterion.

        See `posterion.training.export_onnx`, also for what it raises.
        """
        return provider("export_onnx")(self, folder)

    def publish(self, path: str | Path, **said: Any) -> Any:
        """Save with analysis, data set, licence, citation and metrics on the card.

        See `posterion.bundles.publish`, also for what it raises.
        """
        return provider("publish")(self, path, **said)

    @property
    def publication(self) -> dict[str, Any]:
        """What `publish` said of the result; empty where it was not published."""
        return self.provenance.get("publication", {})

    def reinterpret(self, prior: Any, **options: Any) -> Any:
        """This result under another prior of some parameters, by weights; refused with few draws.

        See `posterion.training.reinterpret`, also for the options and what it raises.
        """
        return provider("reinterpret")(self, prior, **options)

    def draw(self, n: int = DRAWS, *, seed: int = 0, weighted: bool = False) -> Weighted:
        """Draws with weights, or without: what the questions here are answered from.

        Raises:
            SettingError: ``n`` is not positive.
            DensityError: ``weighted`` without the density.
        """
        if n < 1:
            raise SettingError(f"the number of draws must be positive, got {n}")
        if not weighted:
            return Weighted(self.named(n, seed=seed))
        found: Any = self.importance_sample(n, seed=seed)
        log_weights, log_p = (np.asarray(a, np.float64) for a in (found.log_weights, found.log_p))
        bad = (
            np.isnan(log_p) | np.isposinf(log_p) | np.isnan(log_weights) | np.isposinf(log_weights)
        )
        log_weights = np.where(bad, -np.inf, log_weights)
        top = log_weights.max()
        weights = np.exp(log_weights - (top if np.isfinite(top) else 0.0))
        notes = (f"{bad.sum()} of {n} draws have no finite density: weight zero",)
        return Weighted(found.draws, weights, notes if bad.any() else ())

    def _sample_flat(self, key: Any, shape: tuple[int, ...]) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be traced by JAX")

    def _log_prob_flat(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be traced by JAX")

    def __repr__(self) -> str:
        said = [f"{k:<14} {self.publication[k]}" for k in _SAID if self.publication.get(k)]
        return "\n".join([str(self.health), *said])

    def _repr_html_(self) -> str:
        return self.health._repr_html_()

    def _columns(
        self, names: str | Iterable[str] | None, n: int, seed: int, weighted: bool
    ) -> tuple[tuple[Column, ...], np.ndarray, Weighted]:
        indices = pick(self.parameters, names if names is None else _several(names))
        given = self.draw(n, seed=seed, weighted=weighted)
        every = columns_of(self.parameters)
        x = column_matrix(self.parameters, given.draws, indices)
        return tuple(every[i] for i in indices), x, given


def _several(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _rows(name: str, value: Any, n: int) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim == 0 or len(array) != n or array.size == 0:
        raise ShapeError(
            f"the function gave {name!r} of shape {array.shape} and dtype {array.dtype}; it must "
            f"give real numbers with {n} rows, one for each draw"
        )
    return array.astype(np.float64)


def _float64() -> Any:
    """JAX in float64 while a user's function runs, where JAX is there."""
    try:
        import jax
    except ImportError:
        return nullcontext()
    return jax.enable_x64(True)
