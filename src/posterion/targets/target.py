"""A target: an unnormalised log-density over named parameters."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.bijections.support import SupportMap
from posterion.core.cores import CHUNK, chunks
from posterion.core.errors import DensityError, GradientError, ParameterError, ThetaError
from posterion.targets.frame import Frame
from posterion.targets.parameter import Parameter
from posterion.targets.plain import Workers, evaluate_here
from posterion.targets.priors import Kind, described, gather, kinds_of, log_prob_of

log = logging.getLogger("posterion")

_NOT_TRACEABLE = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
)


class Target:
    """An unnormalised log-density over named parameters.

    Args:
        log_density: ``theta -> log-density``; ``theta`` is a dict of arrays by parameter name,
            each of its parameter's shape. Written with ``jax.numpy`` it gives gradients; NumPy
            or compiled code works without. It runs in float64. If it is an object with a method
            ``at_coordinates``, that is traced instead: coordinates ``(n, dim)`` to ``(n,)``.
        parameters: the parameters, in the order of the coordinates. Where one has a prior,
            ``log_density`` excludes it; the prior is added exactly once.
        prior: of several parameters together. An earlier result: its parameters need not be named
            again, and stand before the others. Or a dict of names (one, or a tuple) to a NumPyro
            distribution of that many coordinates, or to an earlier result.
        vectorized: each array has a leading batch axis and the result is ``(n,)``. Two to three
            times as fast on a CPU.
        plain: treat the density as opaque host code, without tracing it; ``None`` finds out.
        workers: processes for a plain density; 0 evaluates in this one.
        name: name of the target, for reports and files.

    Raises:
        ParameterError: no parameters, or two of one name.
        DensityError: at the first evaluation, if the density raises, returns the wrong shape or
            dtype; the message says where.

    >>> import posterion
    >>> target = posterion.Target(lambda t: -0.5 * t["x"] ** 2, [posterion.Parameter("x")])
    >>> target.dim
    1
    """

    def __init__(
        self,
        log_density: Callable[[dict[str, Any]], Any],
        parameters: Sequence[Parameter] = (),
        *,
        prior: Any = None,
        vectorized: bool = False,
        plain: bool | None = None,
        workers: int = 0,
        name: str = "target",
    ):
        if not callable(log_density):
            raise DensityError(f"log_density must be callable, got {type(log_density).__name__}")
        names = [parameter.name for parameter in parameters]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ParameterError(f"duplicate parameter names: {', '.join(doubled)}; rename them")
        self.parameters, self.priors = gather(parameters, prior)
        if not self.parameters:
            raise ParameterError("a target needs at least one parameter")
        self.names = tuple(parameter.name for parameter in self.parameters)
        self.log_density = log_density
        self.vectorized = vectorized
        self.name = name
        self._plain = plain
        self._worker_count = workers
        self._workers: Workers | None = None

    @property
    def dim(self) -> int:
        """Number of coordinates."""
        return sum(parameter.size for parameter in self.parameters)

    @property
    def columns(self) -> list[str]:
        """Names of the coordinates."""
        return [column for parameter in self.parameters for column in parameter.columns]

    def measure(self) -> list[str]:
        """What the density and the evidence refer to, a phrase per parameter or joint prior."""
        joint = {p.name: prior for prior in self.priors if prior.joint for p in prior.parameters}
        said = [joint.get(p.name, p).measure() for p in self.parameters]
        return list(dict.fromkeys(said))

    @property
    def described_parameters(self) -> tuple[Parameter, ...]:
        """The parameters as a result keeps them: a prior of several of them in words."""
        return described(self.parameters, self.priors)

    def unflatten(self, x: Any) -> dict[str, Any]:
        """``theta`` of coordinates ``(..., dim)``: arrays ``(..., *shape)`` by name."""
        return unflatten_theta(self.parameters, x)

    def flatten(self, theta: Mapping[str, Any]) -> np.ndarray:
        """Coordinates ``(n, dim)`` of a ``theta`` of ``n`` points; checks names and shapes."""
        return flatten_theta(self.parameters, theta)

    # Support --------------------------------------------------------------------------------

    @cached_property
    def kinds(self) -> list[Kind]:
        """Kind of support and its two numbers, per coordinate; ``None`` must be scouted."""
        return kinds_of(self.parameters, self.priors)

    @property
    def unscaled(self) -> np.ndarray:
        """Coordinates whose scale must be scouted, ``(dim,)`` of bool."""
        return np.array([b is None for _, _, b in self.kinds])

    def support(
        self, centre: np.ndarray | None = None, scale: np.ndarray | None = None
    ) -> SupportMap:
        """The map from the reference measure; ``centre`` and ``scale`` fill what was scouted."""
        first, second = np.empty(self.dim), np.empty(self.dim)
        for i, (_, a, b) in enumerate(self.kinds):
            first[i] = a if a is not None else centre[i] if centre is not None else 0.0
            second[i] = b if b is not None else scale[i] if scale is not None else 1.0
        with jax.enable_x64(True):
            kinds = [kind for kind, _, _ in self.kinds]
            return SupportMap(kinds, jnp.asarray(first), jnp.asarray(second))

    # Evaluation -----------------------------------------------------------------------------

    @cached_property
    def mode(self) -> Literal["jax", "plain"]:
        """Whether JAX can trace and differentiate the density."""
        if self._plain:
            return "plain"
        shape = jax.ShapeDtypeStruct((2, self.dim), np.float64)
        with jax.enable_x64(True):
            try:
                out = jax.eval_shape(self._raw, shape)
            except DensityError:
                raise
            except _NOT_TRACEABLE as error:
                return self._fall_back(type(error).__name__)
            except Exception as error:
                return self._diagnose(error)
            if out.shape != (2,) or out.dtype.kind not in "fiu":
                raise DensityError(
                    f"the log-density of {self.name!r} must return one real number per point"
                    f"{' (shape (n,))' if self.vectorized else ''}; for a batch of 2 it gave shape "
                    f"{out.shape} and dtype {out.dtype}"
                )
            try:
                jax.eval_shape(jax.grad(lambda x: jnp.sum(self._raw(x).astype(float))), shape)
            except Exception as error:
                return self._fall_back(f"no gradient: {type(error).__name__}")
        return "jax"

    def _fall_back(self, why: str) -> Literal["plain"]:
        if self._plain is False:
            raise GradientError(
                f"the log-density of {self.name!r} is declared plain=False but JAX cannot trace "
                f"and differentiate it ({why}); write it with jax.numpy, or leave plain out"
            )
        log.warning(
            "the log-density of %r cannot be traced by JAX (%s): it is evaluated as plain code, "
            "without gradients",
            self.name,
            why,
        )
        return "plain"

    def _diagnose(self, error: Exception) -> Literal["plain"]:
        """The trace failed in a way of the user's code: is it plain code, or is it broken?"""
        if isinstance(error, KeyError):
            raise ThetaError(
                f"the log-density of {self.name!r} asks for {error}, which is no parameter; "
                f"parameters: {', '.join(self.names)}"
            ) from error
        frame = Frame.plain(self.support())
        try:
            self._host(np.asarray(x_of(frame, np.zeros((2, self.dim)))))
        except DensityError:
            raise DensityError(
                f"the log-density of {self.name!r} raised {type(error).__name__}: {error}"
            ) from error
        return self._fall_back(type(error).__name__)

    @property
    def has_gradient(self) -> bool:
        """Whether the density is differentiable through JAX."""
        return self.mode == "jax"

    def require_gradient(self, what: str) -> None:
        """Raises ``GradientError`` where ``what`` needs a gradient and there is none."""
        if not self.has_gradient:
            raise GradientError(
                f"{what} needs the gradient of the log-density of {self.name!r}, which is plain "
                f"code; write it with jax.numpy, or use the default method, which needs none"
            )

    def _raw(self, x: Array) -> Array:
        if hasattr(self.log_density, "at_coordinates"):
            # To part a hundred scalars by name and join them again costs more than a density.
            return self._number(self.log_density.at_coordinates(x))
        if self.vectorized:
            return self._number(self.log_density(self.unflatten(x)))
        return jax.vmap(lambda row: self._number(self.log_density(self.unflatten(row))))(x)

    def _number(self, value: Any) -> Array:
        if value is None or isinstance(value, str):
            raise DensityError(
                f"the log-density of {self.name!r} must return one real number per point; it "
                f"returned {value!r}{': is a return missing?' if value is None else ''}"
            )
        return jnp.asarray(value)

    def log_prior(self, x: Array) -> Array:
        """Sum of the priors' log-densities at coordinates ``(n, dim)``; traced."""
        return log_prob_of(self.priors, x)

    def log_density64(self, x: Array) -> Array:
        """Density and priors at coordinates ``(n, dim)``; traced, inside x64."""
        return self._raw(x).astype(jnp.float64) + self.log_prior(x)

    def in_frame(self, frame: Frame, v: Array) -> Array:
        """Log-density per unit of ``v`` at ``(n, dim)``, the reference subtracted; inside x64."""
        x, log_det = frame.to_x(v)
        return self.log_density64(x) + log_det - frame.reference

    def value_and_score(self, frame: Frame, v: Array) -> tuple[Array, Array]:
        """:meth:`in_frame` and its gradient, computed in float64, returned in float32."""
        with jax.enable_x64(True):

            def total(v):
                value = self.in_frame(frame, v)
                return jnp.sum(value), value

            (_, value), score = jax.value_and_grad(total, has_aux=True)(v.astype(jnp.float64))
            return value.astype(jnp.float32), score.astype(jnp.float32)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Log-density with priors at coordinates ``(n, dim)`` on the host, float64 ``(n,)``."""
        x = np.asarray(x, np.float64)
        if self.mode == "plain":
            value = self._host(x)
            if self.priors:
                with jax.enable_x64(True):
                    value = value + np.asarray(_log_prior(self, jnp.asarray(x)))
            return value
        out = np.empty(len(x))
        for _, start, stop in chunks(len(x)):
            with jax.enable_x64(True):
                value = _log_density(self, pad_rows(x[start:stop], CHUNK))
            out[start:stop] = np.asarray(value)[: stop - start]
        return out

    def _host(self, x: np.ndarray) -> np.ndarray:
        theta = self.unflatten(x)
        if self._worker_count > 0:
            if self._workers is None:
                self._workers = Workers(self.log_density, self.vectorized, self._worker_count)
            return self._workers(theta, len(x))
        with np.errstate(all="ignore"):
            return evaluate_here(self.log_density, theta, self.vectorized, len(x))

    def close(self) -> None:
        """Ends the worker processes, if any."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {len(self.parameters)} parameters, dim {self.dim})"


def unflatten_theta(parameters: Sequence[Parameter], x: Any) -> dict[str, Any]:
    """``theta`` of coordinates ``(..., dim)``: arrays ``(..., *shape)`` by name."""
    theta, start = {}, 0
    for parameter in parameters:
        part = x[..., start : start + parameter.size]
        theta[parameter.name] = part.reshape((*x.shape[:-1], *parameter.shape))
        start += parameter.size
    return theta


def flatten_theta(parameters: Sequence[Parameter], theta: Mapping[str, Any]) -> np.ndarray:
    """Coordinates ``(n, dim)`` of a ``theta`` of ``n`` points.

    Raises:
        ThetaError: a name missing or unknown.
        DensityError: arrays of shapes that do not fit.
    """
    names = [parameter.name for parameter in parameters]
    unknown, missing = sorted(set(theta) - set(names)), sorted(set(names) - set(theta))
    if unknown or missing:
        raise ThetaError(
            f"theta has unknown names {unknown} and lacks {missing}; expected {', '.join(names)}"
        )
    parts, count = [], None
    for parameter in parameters:
        array = np.asarray(theta[parameter.name], np.float64)
        array = array.reshape(1) if array.shape == parameter.shape == () else array
        if array.ndim != len(parameter.shape) + 1 or array.shape[1:] != parameter.shape:
            raise DensityError(
                f"theta[{parameter.name!r}] must have shape (n, {parameter.shape}), got "
                f"{array.shape}"
            )
        if count is not None and len(array) != count:
            raise DensityError(f"theta[{parameter.name!r}] has {len(array)} rows, others {count}")
        count = len(array)
        parts.append(array.reshape(count, -1))
    return np.concatenate(parts, axis=1)


def pad_rows(x: np.ndarray, limit: int) -> np.ndarray:
    """``x`` with its last row repeated up to a power of two or ``limit``: few shapes compile."""
    rows = min(limit, 1 << max(0, len(x) - 1).bit_length())
    return x if len(x) == rows else np.concatenate([x, np.repeat(x[-1:], rows - len(x), axis=0)])


@jax.jit
def _to_x(frame: Frame, v: Array) -> tuple[Array, Array]:
    return frame.to_x(v)


@jax.jit
def _to_v(frame: Frame, x: Array) -> tuple[Array, Array]:
    return frame.to_v(x)


@jax.jit
def _x_of(frame: Frame, v: Array) -> Array:
    return frame.to_x(v.astype(jnp.float64))[0]


def x_of(frame: Frame, v: np.ndarray | Array) -> np.ndarray:
    """Physical coordinates of ``v`` on the host, float64."""
    x = np.empty(v.shape)
    for _, start, stop in chunks(len(v)):
        piece = v[start:stop]
        with jax.enable_x64(True):
            whole = piece if isinstance(piece, jax.Array) else pad_rows(piece, CHUNK)
            x[start:stop] = np.asarray(_x_of(frame, jnp.asarray(whole)))[: stop - start]
    return x


def x_and_log_det(frame: Frame, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Physical coordinates and ``log|det dx/dv|`` of ``v`` on the host, float64."""
    return _chunked(_to_x, frame, v)


def v_and_log_det(frame: Frame, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates ``v`` and ``log|det dv/dx|`` of physical points on the host, float64."""
    return _chunked(_to_v, frame, x)


def _chunked(function, frame, array):
    array = np.asarray(array, np.float64)
    values, log_dets = np.empty_like(array), np.empty(len(array))
    for _, start, stop in chunks(len(array)):
        with jax.enable_x64(True):
            value, log_det = function(frame, jnp.asarray(pad_rows(array[start:stop], CHUNK)))
        values[start:stop] = np.asarray(value)[: stop - start]
        log_dets[start:stop] = np.asarray(log_det)[: stop - start]
    return values, log_dets


def _log_density_of(target: Target, x: Array) -> Array:
    return target.log_density64(x)


def _log_prior_of(target: Target, x: Array) -> Array:
    return target.log_prior(x)


_log_density = jax.jit(_log_density_of, static_argnums=0)
_log_prior = jax.jit(_log_prior_of, static_argnums=0)
