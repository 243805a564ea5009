"""A flow's layers and its support, held against what is to be learned."""

import warnings
from collections.abc import Callable

import jax
import numpy as np

from posterion.bijections.base import Direction
from posterion.bijections.compose import Chain
from posterion.bijections.equivariant import EquivariantCoupling, VectorCoupling
from posterion.bijections.support import SupportMap, support_of
from posterion.core.errors import ExpensiveDirectionWarning, SettingError
from posterion.distributions.flow import Flow
from posterion.targets.parameter import Parameter
from posterion.training.losses import Learnable
from posterion.training.objectives import flow_circular
from posterion.training.samples import Samples

MANY = 50
"""Coordinates above which the sequential direction of an autoregressive flow is worth a word."""

_warned: set[str] = set()


def core_and_support(
    flow: Learnable, samples: Samples, *, declared: bool
) -> tuple[Learnable, SupportMap, tuple[Parameter, ...]]:
    """The flow without its support, the support in float64, and the parameters with their bounds.

    Bounds are those of the parameters where these were ``declared``, else the flow's own.

    Raises:
        SettingError: dimension, context or angles of flow and samples differ, or both give bounds.
    """
    if flow.event_shape != (samples.dim,):
        raise SettingError(
            f"the flow is for events of shape {flow.event_shape}, the samples have {samples.dim} "
            "coordinates"
        )
    width = len(samples.context)
    if (flow.context_shape or (0,)) != (width,):
        raise SettingError(
            f"the flow takes a context of width {(flow.context_shape or (0,))[0]}, the samples "
            f"have {width}: build it with context_dim={width}"
        )
    core, own = _split(flow)
    circular = flow_circular(core) if isinstance(core, Flow) else (False,) * samples.dim
    parameters = samples.parameters
    bounded = [p for p in parameters if p.lower is not None or p.upper is not None]
    if own is not None and bounded:
        raise SettingError(
            f"both the flow and the parameters ({bounded[0].name}) have bounds; give them once"
        )
    if own is None:
        pairs = [(p.lower, p.upper) for p in parameters for _ in range(p.size)]
        flags = [p.periodic for p in parameters for _ in range(p.size)]
        for name, flag, turns in zip(
            [c for p in parameters for c in p.columns], flags, circular, strict=True
        ):
            if declared and flag != turns:
                raise SettingError(
                    f"{name} is {'an angle' if flag else 'no angle'}, but the flow moves it along "
                    f"a {'circle' if turns else 'line'}: build it with periodic=[...]"
                )
    else:
        pairs, flags = _bounds(own), list(circular)
    with jax.enable_x64(True):
        support = support_of(pairs, circular)
    if own is not None or not declared:
        parameters = _described(parameters, pairs, list(circular))
    return core, support, parameters


def _split(flow: Learnable) -> tuple[Learnable, SupportMap | None]:
    if not isinstance(flow, Flow):
        return flow, None
    chain = flow.bijection
    if isinstance(chain, SupportMap):
        raise SettingError("the flow has no layers to train")
    if isinstance(chain, Chain) and isinstance(chain.bijections[-1], SupportMap):
        return Flow(flow.base, Chain(chain.bijections[:-1])), chain.bijections[-1]
    return flow, None


def _bounds(support: SupportMap) -> list[tuple[float | None, float | None]]:
    """As they were declared: a float32 holds 0.1 as 0.1000000015, which is read back as 0.1."""
    a, b = ([float(str(v)) for v in np.asarray(x, np.float32)] for x in (support.a, support.b))
    pairs: list[tuple[float | None, float | None]] = []
    for kind, low, high in zip(support.kinds, a, b, strict=True):
        if kind in ("interval", "circle"):
            pairs.append((low, high))
        elif kind in ("above", "below"):
            pairs.append((low, None) if kind == "above" else (None, low))
        elif kind == "real":
            pairs.append((None, None))
        else:
            raise SettingError(f"fit has no support of kind {kind!r}")
    return pairs


def _described(
    parameters: tuple[Parameter, ...], pairs: list, circular: list[bool]
) -> tuple[Parameter, ...]:
    """Parameters with the flow's bounds; one whose elements differ in them is split up."""
    out: list[Parameter] = []
    start = 0
    for p in parameters:
        here = slice(start, start + p.size)
        start += p.size
        angles = [pair if pair != (None, None) else (-np.pi, np.pi) for pair in pairs[here]]
        ends = [a if c else b for a, b, c in zip(angles, pairs[here], circular[here], strict=True)]
        if len(set(zip(ends, circular[here], strict=True))) == 1:
            (lower, upper), angle = ends[0], circular[here][0]
            out.append(
                Parameter(
                    p.name,
                    shape=p.shape,
                    unit=p.unit,
                    label=p.label,
                    lower=lower,
                    upper=upper,
                    periodic=bool(angle),
                    role=p.role,
                )
            )
        else:
            out += [
                Parameter(name, lower=end[0], upper=end[1], periodic=bool(angle), role=p.role)
                for name, end, angle in zip(p.columns, ends, circular[here], strict=True)
            ]
    return tuple(out)


Moments = tuple[np.ndarray, np.ndarray]


def symmetry(flow: Learnable) -> Callable[[np.ndarray, np.ndarray], Moments] | None:
    """What makes means and variances such that scaling by them commutes with the flow's group."""

    def is_layer(node: object) -> bool:
        return isinstance(node, (EquivariantCoupling, VectorCoupling))

    found = [n for n in jax.tree.leaves(flow, is_leaf=is_layer) if is_layer(n)]
    if not found:
        return None
    layer = found[0]
    if isinstance(layer, VectorCoupling):

        def of_vectors(mean: np.ndarray, variance: np.ndarray) -> Moments:
            square = (variance + mean**2).reshape(-1, layer.size).mean(axis=1)
            return np.zeros_like(mean), np.repeat(square, layer.size)

        return of_vectors
    group = np.asarray(layer.group, np.float64)
    group = group.reshape(-1, *group.shape[-2:])  # of stacked layers: the same again

    def of_group(mean: np.ndarray, variance: np.ndarray) -> Moments:
        # As if all images of the samples were there.
        centre = (group @ mean).mean(axis=0)
        square = (np.abs(group) @ (variance + mean**2)).mean(axis=0)
        return centre, square - centre**2

    return of_group


def warn_if_slow(flow: Learnable, direction: Direction) -> None:
    """Warns, once a process and direction, where a flow goes coordinate by coordinate.

    ``direction`` is the one that is used: ``"inverse"`` for the density, ``"forward"`` for draws.
    """
    if not isinstance(flow, Flow):
        return
    fast = flow.bijection.fast
    if fast in ("both", direction) or flow.event_shape[0] <= MANY or direction in _warned:
        return
    _warned.add(direction)
    what, other = ("density", "a maf") if direction == "inverse" else ("draws", "an iaf")
    warnings.warn(
        f"the {what} of this flow goes through its {flow.event_shape[0]} coordinates one by one; "
        f"{other} or a coupling flow has it in one pass (docs/choosing.md)",
        ExpensiveDirectionWarning,
        stacklevel=3,
    )
