"""How to fit: one frozen record of settings, and the losses by name."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from posterion.core.errors import SettingError
from posterion.core.settings import check_positive, check_whole, is_number
from posterion.distributions.adversarial import ConditionalGan
from posterion.distributions.manifold import ManifoldFlow
from posterion.targets.target import Target
from posterion.training.adversarial import WassersteinPenalty
from posterion.training.discflow import DiscFlow
from posterion.training.losses import (
    FlowMatching,
    Learnable,
    Loss,
    NegativeLogLikelihood,
    SamplesAndDensity,
    continuous_of,
)
from posterion.training.quantiles import Pinball, has_quantiles, quantiles_of_flow
from posterion.training.summaries import sets_of
from posterion.training.surfaces import ProjectedLikelihood, Reconstruction

LOSSES = (
    "nll",
    "samples_and_density",
    "flow_matching",
    "discflow",
    "quantile",
    "quantile_tanh",
    "expectile",
    "wgan-gp",
)
_OF_QUANTILES = ("quantile", "quantile_tanh", "expectile")


@dataclass(frozen=True)
class FitMethod:
    """Settings of :func:`posterion.fit`.

    Attributes:
        epochs: passes over the training rows, at most; of a flow on a surface in either phase.
        batch: rows a step; by default 512, by the pinball loss fewer of few rows.
        rate: learning rate of Adam.
        schedule: the rate falls to zero as a cosine, or by half whenever the held-out loss has not
            fallen for a third of the patience, or is constant.
        patience: epochs without a lower held-out loss, after which the fit stops.
        validation: share of the rows held out.
        split: seed that chooses them; by default that of the fit.
        clip: largest norm of a gradient.
        average: decay of the moving average of the parameters that is kept; 0 for none, which is
            the default but for the pinball loss: that averages over an epoch.
        whiten: whether the frame takes the samples' full covariance, their scales, or nothing; the
            context is scaled, and left uncorrelated by "full".
    """

    epochs: int = 100
    batch: int | None = None
    rate: float | int = 1e-3
    schedule: str = "cosine"
    patience: float | int = 20
    validation: float | int = 0.1
    split: int | None = None
    clip: float | int = 5.0
    average: float | int | None = None
    whiten: str = "full"

    def __post_init__(self):
        check_whole(least=1, epochs=self.epochs)
        check_positive(rate=self.rate)
        for name in ("patience", "clip"):  # infinite ones are none
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not value > 0:
                raise SettingError(f"{name} must be a positive number, got {value!r}")
        if self.batch is not None:
            check_whole(least=1, batch=self.batch)
        for name in ("validation", "average"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 <= value < 1):
                raise SettingError(f"{name} must be in [0, 1), got {value!r}")
        if self.split is not None:
            check_whole(least=0, split=self.split)
        if not self.validation > 0:
            raise SettingError("validation must be above 0: held-out rows decide what is kept")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise SettingError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )

    def settled(self, loss: Loss, rows: int) -> "Settled":
        """With the loss's own defaults, for so many rows, where nothing was asked for."""
        asked = {f.name: getattr(self, f.name) for f in fields(self)}
        return Settled(**loss.defaults(rows) | {k: v for k, v in asked.items() if v is not None})


@dataclass(frozen=True)
class Settled(FitMethod):
    """Settings of which none is left to the loss."""

    batch: int = 512
    average: float | int = 0.0


_CHOICES = {
    "schedule": ("cosine", "plateau", "constant"),
    "whiten": ("full", "scale", "none"),
}


def make_fit_method(changes: dict[str, Any]) -> FitMethod:
    """The default settings with ``changes``.

    Raises:
        SettingError: an unknown setting; the message lists the known ones.
    """
    known = [field.name for field in fields(FitMethod)]
    if unknown := sorted(set(changes) - set(known)):
        raise SettingError(f"unknown settings {unknown}; known: {', '.join(known)}")
    return replace(FitMethod(), **changes)


def losses_of(
    loss: str | Loss | None, flow: Learnable, target: Target | None, method: FitMethod
) -> tuple[Loss, ...]:
    """The losses of that name, to be minimised one after the other.

    Raises:
        SettingError: there is none, or it does not suit the flow or needs a target.
        GradientError: the target's density has no gradient.
    """
    if isinstance(loss, Loss):
        return (loss,)
    if loss is None:
        loss = "quantile" if has_quantiles(flow) else "nll"
        loss = "wgan-gp" if isinstance(flow, ConditionalGan) else loss
    if loss not in LOSSES:
        raise SettingError(f"unknown loss {loss!r}; choose one of {', '.join(LOSSES)}")
    if isinstance(flow, ConditionalGan) or loss == "wgan-gp":
        if not (isinstance(flow, ConditionalGan) and loss == "wgan-gp"):
            raise SettingError(
                "loss='wgan-gp' is for posterion.conditional_gan, which has no density and knows "
                f"no other; this is a {type(flow).__name__}, the loss {loss!r}"
            )
        return (WassersteinPenalty(),)
    if isinstance(flow, ManifoldFlow):
        if loss != "nll":
            raise SettingError(f"a flow on a surface is learned by 'nll' alone, not by {loss!r}")
        return (Reconstruction(), ProjectedLikelihood())
    if loss == "flow_matching":
        continuous_of(flow)
        return (FlowMatching(),)
    if loss in _OF_QUANTILES:
        levels = 8 if quantiles_of_flow(flow)[0].rises else 1
        power = 2 if loss == "expectile" else 1
        return (Pinball(levels, power=power, squash=loss == "quantile_tanh"),)
    if loss == "discflow":
        if sets_of(flow) is not None:
            raise SettingError("loss='discflow' has no classifier of sets: use 'nll'")
        return (DiscFlow(),)
    if loss == "samples_and_density":
        if target is None:
            raise SettingError("loss='samples_and_density' needs the density: give target=")
        if flow.context_shape is not None:
            raise SettingError("loss='samples_and_density' is for flows without context")
        target.require_gradient("learning from samples and density")
        return (SamplesAndDensity(target),)
    return (NegativeLogLikelihood(),)
