"""Adversarial networks: draws under a condition, without a density."""

import jax

from posterion.core.errors import SettingError
from posterion.distributions.adversarial import ConditionalGan
from posterion.distributions.families.parts import Hidden


def conditional_gan(
    dim: int,
    context_dim: int = 0,
    *,
    noise: int = 8,
    hidden: Hidden = (64, 64),
    critic: Hidden | None = None,
    activation: str = "leaky_relu",
    seed: int = 0,
) -> ConditionalGan:
    """A conditional Wasserstein network, as the field began with (Blue et al., EPJ WoC 251, 03055).

    `posterion.fit` teaches it by the Wasserstein loss with a gradient penalty (Gulrajani et al.,
    1704.00028). It draws, and has no density: ``log_prob`` says so. A quantile network has both.

    Args:
        dim: number of outputs.
        context_dim: width of the condition, 0 for none.
        noise: width of the normal noise from which draws are made.
        hidden: widths of the generator.
        critic: widths of the critic, by default those of the generator.
        activation: of both.
        seed: of the weights.

    Raises:
        SettingError: no output, no noise, or a negative width.

    >>> conditional_gan(2, 3).context_shape
    (3,)
    """
    if dim < 1 or context_dim < 0 or noise < 1:
        raise SettingError(
            f"there is at least one output, one noise and no negative width: dim={dim}, "
            f"context_dim={context_dim}, noise={noise}"
        )
    key = jax.random.key(seed)
    judge = hidden if critic is None else critic
    return ConditionalGan(dim, context_dim, noise, hidden, judge, activation, key=key)
