"""Networks of sets: what they give does not depend on the order of the points.

A set comes flat, point after point; a point that is missing is NaN, and left out. Features are seen
by their inverse hyperbolic sines: nearly themselves about zero, and logarithms far away, so that a
few far points do not decide.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.networks.perceptron import MLP
from posterion.networks.products import product

_SMALL = 1e-5


@register("deep_set")
class DeepSet(eqx.Module):
    """A network of each point, mean and largest of what it gives, a network of these.

    The first network sees a point and its distance from the mean of the set, without which a spread
    would be a small difference of large means. The second sees the number of points too,
    ``log(1 + n)`` over its largest value.

    Args:
        points: that a set has at the most.
        features: of a point.
        out_size: width of the output.
        each: widths of the first network; the last is that of its output.
        whole: widths of the hidden layers of the second.
        activation: of both.
        key: random key of the initial weights.

    Raises:
        SettingError: sizes below 1.

    Source: Zaheer et al., 1703.06114, theorem 2 and, for the distances, equation 4.
    """

    each: MLP
    whole: MLP
    points: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(
        self,
        points: int,
        features: int,
        out_size: int,
        each: tuple[int, ...] = (64, 64),
        whole: tuple[int, ...] = (64,),
        activation: str = "silu",
        *,
        key: PRNGKeyArray,
    ):
        check_set(points, features)
        if not each:
            raise SettingError("the network of each point needs at least one width")
        first, second = jax.random.split(key)
        self.each = MLP(2 * features, each[-1], each[:-1], activation, key=first)
        self.whole = MLP(2 * each[-1] + 1, out_size, whole, activation, key=second)
        self.points, self.features = points, features

    def __call__(self, x: Float[Array, "in_size ..."]) -> Float[Array, "out_size ..."]:
        """The output at one flat set, or at a batch of them along a last axis."""
        values, there = _parted(x, self.points, self.features)
        count = jnp.sum(there, axis=0)

        def mean_of(points: Array) -> Array:
            divisor = jnp.maximum(count, 1).astype(x.dtype)
            return jnp.sum(jnp.where(there, points, 0), axis=1) / divisor

        away = values - mean_of(values)[:, None]
        out = self.each(jnp.arcsinh(jnp.concatenate([values, away])).reshape(2 * self.features, -1))
        out = out.reshape(-1, *there.shape)
        mean = mean_of(out)
        highest = jnp.max(jnp.where(there, out, -jnp.inf), axis=1)
        highest = jnp.where(count > 0, highest, 0)
        whole = self.whole(jnp.concatenate([mean, highest, _size(count, self.points, x)]))
        return whole[:, 0] if x.ndim == 1 else whole


class _Attention(eqx.Module):
    """Points that look at others: attention by several heads, then a network, each added."""

    query: Array
    key: Array
    value: Array
    mix: Array
    network: MLP
    scales: Array
    shifts: Array
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, activation: str, *, key: PRNGKeyArray):
        *keys, last = jax.random.split(key, 5)
        bound = (3 / width) ** 0.5
        matrices = [jax.random.uniform(k, (width,) * 2, minval=-bound, maxval=bound) for k in keys]
        self.query, self.key, self.value, self.mix = matrices
        self.network = MLP(width, width, (2 * width,), activation, key=last)
        self.scales, self.shifts = jnp.ones((2, width)), jnp.zeros((2, width))
        self.heads = heads

    def __call__(self, x: Array, y: Array, there: Array) -> Array:
        """``x``, ``(width, m, batch)``, having looked at ``y``, ``(width, n, batch)``."""
        q, k, v = (
            _each(matrix, points).reshape(self.heads, -1, *points.shape[1:])
            for matrix, points in ((self.query, x), (self.key, y), (self.value, y))
        )
        exact = lax.Precision.HIGHEST
        scores = jnp.einsum("hdmb,hdnb->hmnb", q, k, precision=exact) / q.shape[1] ** 0.5
        scores = jnp.where(there, scores, jnp.finfo(scores.dtype).min)
        shares = jnp.where(there, jax.nn.softmax(scores, axis=2), 0)
        seen = jnp.einsum("hmnb,hdnb->hdmb", shares, v, precision=exact)
        x = self._normal(0, x + _each(self.mix, seen.reshape(x.shape)))
        moved = self.network(x.reshape(len(x), -1)).reshape(x.shape)
        return self._normal(1, x + moved)

    def _normal(self, which: int, x: Array) -> Array:
        """Each point with mean 0 and variance 1 over its width, times a scale, plus a shift."""
        away = x - jnp.mean(x, axis=0)
        unit = away * lax.rsqrt(jnp.mean(away**2, axis=0) + _SMALL)
        return self.scales[which][:, None, None] * unit + self.shifts[which][:, None, None]


register("set_attention_block")(_Attention)


@register("set_attention")
class SetAttention(eqx.Module):
    """Points that look at each other, then a learned one that looks at all; a network of that.

    The last network sees the number of points too, ``log(1 + n)`` over its largest value: shares
    of attention do not tell it.

    Args:
        points: that a set has at the most.
        features: of a point.
        out_size: width of the output.
        width: of what stands for each point.
        heads: of the attention; they share the width.
        blocks: how often points look at each other.
        whole: widths of the hidden layers of the last network.
        activation: of all networks.
        key: random key of the initial weights.

    Raises:
        SettingError: sizes below 1, or a width that the heads cannot share.

    Source: the set transformer, Lee et al., 1810.00825, equations 6 to 8 and 11.
    """

    enter: MLP
    blocks: tuple[_Attention, ...]
    seed: Array
    pool: _Attention
    whole: MLP
    points: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(
        self,
        points: int,
        features: int,
        out_size: int,
        width: int = 32,
        heads: int = 4,
        blocks: int = 2,
        whole: tuple[int, ...] = (64,),
        activation: str = "silu",
        *,
        key: PRNGKeyArray,
    ):
        check_set(points, features)
        if min(width, heads) < 1 or blocks < 0 or width % heads:
            raise SettingError(
                f"the width {width} is not shared by {heads} heads, or there are {blocks} blocks"
            )
        keys = jax.random.split(key, blocks + 4)
        self.enter = MLP(features, width, (), activation, key=keys[0])
        self.seed = jax.random.normal(keys[1], (width,))
        self.whole = MLP(width + 1, out_size, whole, activation, key=keys[2])
        made = [_Attention(width, heads, activation, key=k) for k in keys[3:]]
        *others, self.pool = made
        self.blocks = tuple(others)
        self.points, self.features = points, features

    def __call__(self, x: Float[Array, "in_size ..."]) -> Float[Array, "out_size ..."]:
        """The output at one flat set, or at a batch of them along a last axis."""
        values, there = _parted(x, self.points, self.features)
        out = self.enter(jnp.arcsinh(values).reshape(self.features, -1)).reshape(-1, *there.shape)
        for block in self.blocks:
            out = block(out, out, there)
        seed = jnp.broadcast_to(self.seed[:, None, None], (len(self.seed), 1, there.shape[1]))
        pooled = self.pool(seed, out, there)[:, 0]
        size = _size(jnp.sum(there, axis=0), self.points, x)
        whole = self.whole(jnp.concatenate([pooled, size]))
        return whole[:, 0] if x.ndim == 1 else whole


def check_set(points: int, features: int) -> None:
    """Makes sure that a set has points, and a point features.

    Raises:
        SettingError: not so.
    """
    if points < 1 or features < 1:
        raise SettingError(f"a set needs points of features, got {points} of {features}")


def _parted(x: Array, points: int, features: int) -> tuple[Array, Array]:
    """Values ``(features, points, batch)``, 0 where missing, and what is there, without these."""
    values = jnp.moveaxis(x.reshape(points, features, -1), 1, 0)
    there = ~jnp.any(jnp.isnan(values), axis=0)
    return jnp.where(there, values, 0), there


def _size(count: Array, points: int, like: Array) -> Array:
    return (jnp.log1p(count.astype(like.dtype)) / jnp.log1p(points).astype(like.dtype))[None]


def _each(matrix: Array, points: Array) -> Array:
    return product(matrix, points.reshape(len(points), -1)).reshape(points.shape)
