"""Ensembles: several fits of the same thing, whose spread is the error of what they say."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import ArrayLike

from posterion import bundles
from posterion.core.columns import columns_of, pick
from posterion.core.errors import SettingError
from posterion.core.point_sets import PointSets
from posterion.core.registry import register
from posterion.core.result import DRAWS, Result
from posterion.core.settings import check_draws
from posterion.core.status import Status
from posterion.core.summary import LEVELS
from posterion.diagnostics.health import Check, Health
from posterion.targets.parameter import Parameter
from posterion.training.conditional import Parts, parts_of, quantiles_of
from posterion.training.ranges import said_once
from posterion.training.spreads import EnsembleProfile, EnsembleSummary, summarise_members

__all__ = ["Ensemble"]

_LOOKED_AT = 10_000
_TABLED = 12


def _without_targets(ensemble: "Ensemble") -> "Ensemble":
    return replace(ensemble, members=tuple(replace(m, target=None) for m in ensemble.members))


@register("ensemble", kept=_without_targets)
@dataclass(frozen=True, eq=False, repr=False)
class Ensemble(Result):
    """Fits, or learned posteriors, of the same parameters, that differ as chance would have it.

    `sample` and `log_prob` are those of their mixture in equal parts; `summary`, `interval` and
    `profile` give the mean over the members with their standard deviation as the error. Build by
    `posterion.ensemble`, or by :meth:`of` from members made elsewhere.

    Attributes:
        name: of what was learned.
        members: of one kind.
        how: what they differ by, in words.
        provenance: how it came about.
    """

    name: str
    members: tuple[Any, ...]
    how: str
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        members: Iterable[Any],
        *,
        name: str | None = None,
        how: str = "as they were given",
        provenance: Mapping[str, Any] | None = None,
    ) -> "Ensemble":
        """An ensemble of results that are there already.

        Args:
            members: fits or posteriors, at least two.
            name: by default that of the first.
            how: what they differ by.
            provenance: kept with it.

        Raises:
            SettingError: fewer than two, or of different kinds, parameters or contexts.
        """
        several = tuple(members)
        if len(several) < 2:
            raise SettingError(f"an ensemble takes at least two members, not {len(several)}")
        for what in ("kind", "columns", "context", "form"):
            found = {getattr(member, what, None) for member in several}
            if len(found) > 1:
                raise SettingError(f"the members differ in their {what}: {sorted(map(str, found))}")
        return cls(
            name or f"{several[0].name}", several, how, dict(provenance or several[0].provenance)
        )

    @property
    def kind(self) -> str:
        """``"ensemble"``."""
        return "ensemble"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of each member."""
        return self.members[0].parameters

    @property
    def context(self) -> tuple[str, ...]:
        """Names of the context's columns; empty where there is none."""
        return tuple(getattr(self.members[0], "context", ()))

    @property
    def sets(self) -> PointSets | None:
        """How the context holds a set of points, where it does."""
        return getattr(self.members[0], "sets", None)

    @property
    def form(self) -> str:
        """Whether draws are an array or a dict by parameter name."""
        return getattr(self.members[0], "form", "dict")

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Training of each, keys ``0.epoch`` and so on."""
        return {f"{i}.{k}": v for i, m in enumerate(self.members) for k, v in m.history.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the first member."""
        return self.members[0].settings

    @property
    def versions(self) -> dict[str, str]:
        """Package versions."""
        return self.members[0].versions

    @property
    def citations(self) -> tuple[str, ...]:
        """Works to cite."""
        return tuple(dict.fromkeys(key for m in self.members for key in m.citations))

    @property
    def status(self) -> Status:
        """That of the first member which is not to be believed, else of the first."""
        found = [member.status for member in self.members]
        return next((status for status in found if not status.ok), found[0])

    @cached_property
    def health(self) -> Health:
        """How many members are to be believed, and the largest errors."""
        good = sum(member.status.ok for member in self.members)
        checks = [
            Check(
                "members to be believed",
                good,
                None,
                f"{len(self.members)}",
                "good" if good == len(self.members) else "bad",
                f"they differ {self.how}",
            )
        ]
        if not self._conditional:
            checks += self._largest_errors()
        reasons = [
            f"member {i} is {m.status.name}" for i, m in enumerate(self.members) if not m.status.ok
        ]
        return Health(
            self.status,
            f"{self.name}, {len(self.members)} members",
            tuple(reasons),
            tuple(checks),
            measure=self.members[0].health.measure,
            notes=(
                "errors are standard deviations over the members: those of one member, and so "
                "no smaller than those of their mean",
            ),
        )

    def sample(self, n: int, *, context: Any = None, seed: int) -> Any:
        """``n`` draws of the mixture in equal parts, in the form of the members'.

        Args:
            n: number of draws (for each condition).
            context: conditions, where the members take them.
            seed: of the draws.
        """
        return self._mixed(n, seed, context, lambda m, k, **c: m.sample(k, **c))

    def named(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        return self._mixed(n, seed, None, lambda m, k, **c: m.named(k, **c))

    def log_prob(self, x: Any, context: Any = None) -> np.ndarray:
        """Log-density of the mixture at ``n`` points, ``(n,)``; arguments as of a member."""
        given = {} if context is None else {"context": context}
        with said_once(self, context):
            each = np.array([member.log_prob(x, **given) for member in self.members])
        return np.logaddexp.reduce(each, axis=0) - np.log(len(self.members))

    def quantile(self, q: Any, *, context: Any = None, n: int = 1000, seed: int = 0) -> Any:
        """Quantiles of the mixture, from ``n`` draws; arguments as of a `Fit`."""
        return quantiles_of(self, q, context, n=n, seed=seed)

    def predict(self, context: Any, *, n: int = 200, seed: int = 0) -> Parts:
        """Mean and spread under each condition, aleatoric and epistemic parts told apart.

        Of several outcomes the noise of ``n`` draws is taken off the epistemic variance: a part of
        0 says that it is below this noise, not that nothing is unknown.

        Args:
            context: conditions ``(rows, width)``, or by name.
            n: draws of each member under each condition.
            seed: of the draws.

        Raises:
            SettingError: the members take no context, or ``n`` is below 2.
        """
        if not self.context:
            raise SettingError(f"{self.name!r} has no context: `summary` has its mean and spread")
        return parts_of(self.members, context, n=n, seed=seed)

    def given(self, context: Any) -> "Ensemble":
        """The ensemble under one condition."""
        first = self.members[0].given(context)
        with said_once(self, None):
            others = [member.given(context) for member in self.members[1:]]
        return replace(self, members=(first, *others))

    def outside(self, context: Any) -> np.ndarray:
        """Which conditions lie outside of those in training, ``(rows,)``; as of a `Fit`."""
        return self.members[0].outside(context)

    def summary(
        self,
        names: str | Iterable[str] | None = None,
        *,
        n: int = DRAWS,
        seed: int = 0,
        weighted: bool = False,
        levels: Iterable[float | int] = LEVELS,
    ) -> EnsembleSummary:
        """Means, spreads and intervals with their errors; arguments as of any result.

        Each number is the mean over the members, its error their standard deviation.
        """
        several = tuple(levels)
        return summarise_members(
            [
                member.summary(names, n=n, seed=seed, weighted=weighted, levels=several)
                for member in self.members
            ]
        )

    def interval(
        self,
        name: str,
        level: float | int = 0.6826894921370859,
        *,
        which: str = "equal_tailed",
        n: int = DRAWS,
        seed: int = 0,
    ) -> tuple[Any, Any]:
        """Both ends of a credible interval as estimates.

        Args:
            name: of a coordinate.
            level: its probability.
            which: ``"equal_tailed"``, or ``"hpd"`` for the shortest.
            n: number of draws of each member.
            seed: of the draws.

        Raises:
            ThetaError: no such coordinate.
            SettingError: a vector, an unknown ``which`` or a level that is no probability.
        """
        if which not in ("equal_tailed", "hpd"):
            raise SettingError(f"which: 'equal_tailed' or 'hpd', got {which!r}")
        if len(pick(self.parameters, name)) != 1:
            raise SettingError(f"{name!r} is a vector; name one element, such as {name}[0]")
        found = self.summary(name, n=n, seed=seed, levels=(level,))
        return found.interval(0, float(level), which)

    def profile(
        self, name: str, grid: ArrayLike | None = None, *, seed: int = 0
    ) -> EnsembleProfile:
        """The profile of one coordinate by every member; arguments as `posterion.profile`."""
        first = self.members[0].profile(name, grid, seed=seed)
        rest = [replace(member, target=None) for member in self.members[1:]]
        found = [first, *(member.profile(name, first.grid, seed=seed) for member in rest)]
        return EnsembleProfile(name, first.grid, tuple(found), first.exact)

    def save(self, path: str | Path) -> None:
        """Writes all members to one ``.posterion`` file, without samples and densities.

        Raises:
            OutputError: the file cannot be written; the one before is still there.
        """
        card = bundles.result_card(self, context=list(self.context))
        bundles.save_object(Path(path), self, card)

    def __repr__(self) -> str:
        return f"{self.health}\n\n{self._table}" if self._table else str(self.health)

    def _repr_html_(self) -> str:
        table = self._table
        return self.health._repr_html_() + (table._repr_html_() if table else "")

    # Inside -----------------------------------------------------------------------------------

    @property
    def _conditional(self) -> bool:
        return bool(self.context) and getattr(self.members[0], "condition", None) is None

    @cached_property
    def _table(self) -> EnsembleSummary | None:
        """Of the first coordinates, for the report."""
        if self._conditional:
            return None
        names = [column.name for column in columns_of(self.parameters)]
        return self.summary(names[:_TABLED], n=_LOOKED_AT)

    def _largest_errors(self) -> list[Check]:
        found = self.summary(n=_LOOKED_AT)
        if found.errors is None:
            return []
        checks = []
        for label, errors in (
            ("largest error / sd, mean", found.errors.mean),
            *(
                (f"largest error / sd, {100 * level:.6g}% ends", ends.max(axis=1))
                for level, ends in found.errors.equal_tailed.items()
            ),
        ):
            relative = errors / np.where(found.sd > 0, found.sd, np.nan)
            i = int(np.nanargmax(relative))
            checks.append(Check(label, float(relative[i]), note=found.names[i]))
        return checks

    def _mixed(self, n: int, seed: int, context: Any, draw: Callable[..., Any]) -> Any:
        check_draws(n)
        which = np.random.default_rng([seed, 61]).integers(len(self.members), size=n)
        order = np.argsort(np.argsort(which, kind="stable"), kind="stable")
        axis = 0 if context is None else 1
        with said_once(self, context):
            parts = [
                draw(member, int((which == i).sum()), seed=seed + i, **_given(context))
                for i, member in enumerate(self.members)
                if (which == i).any()
            ]
        if isinstance(parts[0], Mapping):
            return {k: _joined([p[k] for p in parts], axis, order) for k in parts[0]}
        return _joined(parts, axis, order)

    def _sample_flat(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        first, *keys = jax.random.split(key, len(self.members) + 1)
        pairs = zip(self.members, keys, strict=True)
        drawn = jnp.stack([member._sample_flat(k, shape) for member, k in pairs])
        which = jax.random.randint(first, shape, 0, len(self.members))
        return jnp.take_along_axis(drawn, which[None, ..., None], axis=0)[0]

    def _log_prob_flat(self, x: Array) -> Array:
        each = jnp.stack([member._log_prob_flat(x) for member in self.members])
        return jax.scipy.special.logsumexp(each, axis=0) - np.log(len(self.members))


def _given(context: Any) -> dict[str, Any]:
    return {} if context is None else {"context": context}


def _joined(parts: Sequence[np.ndarray], axis: int, order: np.ndarray) -> np.ndarray:
    return np.take(np.concatenate(parts, axis=axis), order, axis=axis)
