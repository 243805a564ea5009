"""What ``fit`` returns: a density learned from samples, with its health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import ArrayLike

from posterion import bundles
from posterion.bijections.base import apply_batch
from posterion.core.cores import chunks
from posterion.core.errors import DensityError, SampleError, SettingError
from posterion.core.point_sets import PointSets
from posterion.core.registry import register
from posterion.core.result import Result
from posterion.core.settings import check_draws
from posterion.core.status import Status
from posterion.diagnostics.health import Health
from posterion.distributions.base import Distribution
from posterion.distributions.manifold import ManifoldFlow
from posterion.sampling.profiling import Profile, flow_density, profile
from posterion.targets.frame import Frame
from posterion.targets.parameter import Parameter
from posterion.targets.target import (
    Target,
    flatten_theta,
    unflatten_theta,
    v_and_log_det,
    x_of,
)
from posterion.training.conditional import quantiles_of
from posterion.training.losses import Learnable, log_probs
from posterion.training.pairing import require_same_order
from posterion.training.ranges import beyond, strange_classes, warn_outside
from posterion.training.samples import conditions_of
from posterion.training.summaries import seen, sets_of
from posterion.training.supports import warn_if_slow
from posterion.training.whitened import as_given, as_seen

_CHUNK = 16384


@eqx.filter_jit
def _draw(flow: Learnable, seed: Array, number: Array, context: Array | None) -> Array:
    """One chunk of draws in the frame's coordinates."""
    key = jax.random.fold_in(jax.random.wrap_key_data(seed), number)
    return flow.sample(key, (_CHUNK,), context)


def _without_target(fit: "Fit") -> "Fit":
    return replace(fit, target=None)


@register("fit", kept=_without_target)
@dataclass(frozen=True, eq=False, repr=False)
class Fit(Result):
    """A density learned from samples: independent draws, its value anywhere, and its health.

    A conditional fit takes ``context`` in `sample` and `log_prob`; `given` fixes one condition, and
    then `summary`, `corner` and the other questions work as without.

    On a surface of fewer dimensions the density is per unit of its volume, lengths along each
    coordinate in units of the spread of the samples.

    Attributes:
        name: of what was fitted.
        parameters: of the coordinates.
        flow: the distribution in the frame's coordinates.
        frame: from there to the parameters.
        context: names of the context's columns.
        context_location, context_scale, context_mixing: by which the flow sees it, see `as_seen`.
        context_range: its least and greatest values in training, ``(2, width)``; ``None`` of files
            that do not know.
        classes: conditions of which each row has one class, in columns ``name=class``.
        form: whether draws are an array or a dict by parameter name.
        health: the report; its status says whether to believe the rest.
        history: one entry per epoch: epoch, loss, valid (held-out), seconds; phase, where there
            are two.
        settings, versions, citations, provenance: how it came about.
        condition: the fixed condition, where `given` made one.
        target: the density that the samples are of, where it is at hand.
        expectiles: whether expectiles were learned, which `quantile` gives: the fit is then no
            distribution, and neither draws nor has a density.
    """

    name: str
    parameters: tuple[Parameter, ...]
    flow: Learnable
    frame: Frame
    context: tuple[str, ...]
    context_location: np.ndarray
    context_scale: np.ndarray
    form: Literal["array", "dict"]
    history: dict[str, np.ndarray]
    settings: dict[str, Any]
    versions: dict[str, str]
    citations: tuple[str, ...]
    provenance: dict[str, Any]
    health: Health = field(default=Health(Status.not_checked))
    condition: np.ndarray | None = None
    target: Target | None = None
    context_range: np.ndarray | None = None
    expectiles: bool = False
    context_mixing: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``"fit"``."""
        return "fit"

    @property
    def status(self) -> Status:
        """The verdict of the health report."""
        return self.health.status

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return self.frame.dim

    @property
    def sets(self) -> PointSets | None:
        """How the context holds a set of points, where it does."""
        return sets_of(self.flow)

    def sample(self, n: int, *, context: Any = None, seed: int) -> Any:
        """``n`` independent draws, float64, in the form of the samples.

        The same seed gives the same draws.

        Args:
            n: number of draws (for each condition).
            context: conditions ``(rows, width)``, or a dict or DataFrame by their names; sets of
                points as `fit` takes them.
            seed: of the draws.

        Returns:
            An array ``(n, dim)`` or a dict of arrays ``(n, *shape)``; with context ``(rows, n,
            ...)``.

        Raises:
            SettingError: ``n`` is not positive, or context is given where there is none, or lacks.
        """
        self._require_distribution()
        warn_if_slow(self.flow, "forward")
        rows = self._conditions(context)
        x = self._draw(n, rows, seed)
        if context is not None and rows is not None:
            x = x.reshape(len(rows), n, self.dim)
        return x if self.form == "array" else unflatten_theta(self.parameters, x)

    def log_prob(self, x: Any, context: Any = None) -> np.ndarray:
        """Normalised log-density at ``n`` points, in the stated units, float64 ``(n,)``.

        Args:
            x: an array ``(n, dim)``, or a dict of arrays ``(n, *shape)``.
            context: one condition for all, or one a point.

        Raises:
            SampleError: points or conditions of the wrong shape.
            DensityError: there is none, as of a `posterion.conditional_gan`.
        """
        self._require_density()
        require_same_order(x=x, context=context)
        warn_if_slow(self.flow, "inverse")
        points = self._points(x)
        rows = self._conditions(context)
        if rows is not None and len(rows) not in (1, len(points)):
            raise SampleError(f"there are {len(rows)} conditions for {len(points)} points")
        v, log_det = v_and_log_det(self.frame, points)
        if rows is not None:
            rows = np.broadcast_to(rows, (len(points), rows.shape[1]))
        flow, rows = seen(self.flow, rows)
        return log_probs(flow, v.astype(np.float32), rows) + self._per_volume(log_det)

    def quantile(self, q: Any, *, context: Any = None, n: int = 1000, seed: int = 0) -> Any:
        """Quantiles of each coordinate, under each condition.

        Of one coordinate they are exact, the flow's own; of several those of ``n`` draws each. Of a
        fit of expectiles these: the one of 1/2 is the mean.

        Args:
            q: levels between 0 and 1, a number or several.
            context: conditions, as of `sample`.
            n: draws, for each condition.
            seed: of the draws.

        Returns:
            An array ``(*q.shape, rows, dim)``, or a dict of arrays ``(*q.shape, rows, *shape)``;
            without ``rows`` where no context is given.

        Raises:
            SettingError: levels that are not between 0 and 1, or context as of `sample`.
        """
        return quantiles_of(self, q, context, n=n, seed=seed)

    def as_seen(self, context: np.ndarray) -> np.ndarray:
        """Conditions ``(n, width)`` as the flow sees them: scaled, and uncorrelated in training."""
        return as_seen(context, self.context_location, self.context_scale, self.context_mixing)

    def as_given(self, seen: np.ndarray) -> np.ndarray:
        """The inverse of `as_seen`."""
        return as_given(seen, self.context_location, self.context_scale, self.context_mixing)

    def given(self, context: Any) -> "Fit":
        """The distribution under one condition: ``(width,)``, a set, or numbers by name."""
        if not self.context:
            raise SettingError(f"{self.name!r} has no context")
        if isinstance(context, Mapping):
            context = {name: np.atleast_1d(value) for name, value in context.items()}
        rows = conditions_of(self, context)
        if len(rows) != 1:
            raise SettingError(f"given takes one condition, not {len(rows)}")
        warn_outside(self.name, self.context, rows, self.context_range, self.classes)
        return replace(self, condition=rows[0])

    def outside(self, context: Any) -> np.ndarray:
        """Which conditions lie outside of the range of those in training, ``(rows,)``.

        What the fit says there is extrapolation. Within the range of every column a condition may
        still be unlike all in training.

        Args:
            context: conditions, as of `sample`.

        Raises:
            SettingError: the fit has no context, or is of a file that does not know its range.
        """
        if not self.context or self.context_range is None:
            raise SettingError(f"{self.name!r} knows no range of a context")
        rows, seen = conditions_of(self, context), self.context_range
        far = (beyond(rows, seen) > 0).any(axis=1)
        strange = strange_classes(self.context, rows, self.classes)
        return np.asarray(np.any([far, *strange.values()], axis=0))

    def save(self, path: str | Path) -> None:
        """Writes the fit to one ``.posterion`` file, without samples and density.

        Raises:
            OutputError: the file cannot be written; the one before is still there.
        """
        card = bundles.result_card(self, context=list(self.context))
        bundles.save_object(Path(path), self, card)

    def named(self, n: int, *, seed: int) -> dict[str, np.ndarray]:
        self._require_distribution()
        return unflatten_theta(self.parameters, self._draw(n, self._conditions(None), seed))

    @property
    def on_surface(self) -> bool:
        """Whether draws lie on a surface of fewer dimensions than they have coordinates."""
        return isinstance(self.flow, ManifoldFlow)

    def density64(self) -> Callable[[Array], Array]:
        """Log-density of coordinates ``(n, dim)``, float64 and differentiable; inside x64."""
        if self.on_surface:
            raise DensityError(f"{self.name!r} lies on a surface: it has no density in its space")
        self._require_density()
        flow, rows = seen(self.flow, self._conditions(None))
        return flow_density(flow, self.frame, rows)

    def profile(self, name: str, grid: ArrayLike | None = None, *, seed: int = 0) -> Profile:
        """The profile of one coordinate; see `posterion.profile`."""
        return profile(self, name, grid, seed=seed)

    # Inside -----------------------------------------------------------------------------------

    def _require_distribution(self) -> None:
        if self.expectiles:
            raise DensityError(
                f"{self.name!r} learned expectiles, which are no distribution: quantile(levels) "
                "gives them, that of 1/2 is the mean; for draws fit without loss='expectile'"
            )

    def _require_density(self) -> None:
        self._require_distribution()
        if not isinstance(self.flow, Distribution):
            raise DensityError(
                f"{self.name!r} draws by a {type(self.flow).__name__}, whose noise goes through a "
                "network that has no inverse: there is no density. A posterion.quantile_network, "
                "or a flow, has one"
            )

    def _points(self, x: Any) -> np.ndarray:
        if isinstance(x, Mapping) or hasattr(x, "columns"):
            return flatten_theta(self.parameters, {str(k): np.asarray(x[k]) for k in x})
        points = np.asarray(x, np.float64)
        points = points[None] if points.shape == (self.dim,) else points
        if points.ndim != 2 or points.shape[1] != self.dim:
            raise SampleError(f"points must be (n, {self.dim}), got {points.shape}")
        return points

    def _conditions(self, context: Any) -> np.ndarray | None:
        """Conditions as the flow sees them, float32 ``(rows, width)``."""
        if not self.context:
            if context is not None:
                raise SettingError(f"{self.name!r} has no context; it takes none")
            return None
        if context is None:
            if self.condition is None:
                raise SettingError(
                    f"{self.name!r} needs a context: {', '.join(self.context)}; give context=, or "
                    "fix one by fit.given(context)"
                )
            rows = self.condition[None]
        else:
            rows = conditions_of(self, context)
            warn_outside(self.name, self.context, rows, self.context_range, self.classes)
        return self.as_seen(rows).astype(np.float32)

    def _draw(self, n: int, rows: np.ndarray | None, seed: int) -> np.ndarray:
        """Coordinates ``(rows * n, dim)``."""
        check_draws(n)
        total = n if rows is None else n * len(rows)
        flow, rows = seen(self.flow, rows)
        x = np.empty((total, self.dim))
        key = jax.random.key_data(jax.random.key(seed))
        for number, start, stop in chunks(total, _CHUNK):
            given = None
            if rows is not None:
                index = np.minimum(np.arange(start, start + _CHUNK), total - 1) // n
                given = jnp.asarray(rows[index])
            part = _draw(flow, key, jnp.asarray(number, jnp.int32), given)
            x[start:stop] = x_of(self.frame, part)[: stop - start]
        return x

    def _per_volume(self, log_det: Any) -> Any:
        return 0 * log_det if self.on_surface else log_det

    def _sample_flat(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        count = int(np.prod(shape)) if shape else 1
        rows = self._conditions(None)
        v = self.flow.sample(key, (count,), None if rows is None else jnp.asarray(rows[0]))
        with jax.enable_x64(True):
            return self.frame.to_x(v)[0].reshape(*shape, self.dim)

    def _log_prob_flat(self, x: Array) -> Array:
        flow: Any = self.flow
        self._require_density()
        with jax.enable_x64(True):
            v, log_det = self.frame.to_v(x)
            v, log_det = v.astype(jnp.float32), log_det.astype(jnp.float32)
        rows = self._conditions(None)
        context = None if rows is None else jnp.asarray(rows[0])
        log_prob = apply_batch(flow.log_prob, v, context=context)
        return log_prob + self._per_volume(log_det)
