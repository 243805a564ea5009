"""Products of matrices that keep the precision of their numbers on every device."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def product(a: Array, b: Array) -> Array:
    """``a @ b`` in full float32 or float64.

    On GPUs the default of JAX rounds float32 to ten bits of mantissa (TF32): the density of a flow
    and of its own draws would differ in the third digit, and a whitening would lose the target.
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
