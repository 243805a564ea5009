"""How to learn: one frozen record of settings; one set of defaults serves every target."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from posterion.core.errors import SettingError
from posterion.core.registry import register
from posterion.training.divergences import Divergence, jeffreys, reverse_kl


@register("method")
@dataclass(frozen=True)
class Method:
    """Settings of :func:`posterion.learn`.

    Attributes:
        divergence: what is minimised by path gradients.
        layers, hidden, activation, bins: of the flow; bins of the splines on circles.
        shift_first: whether an affine coupling shifts in units of the local width.
        linear: last layer: learned LU mixing (``"lu"``) or element-wise scale and shift.
        base: ``"auto"`` is a normal, or a mixture with one for each separated mode;
            ``"normal"`` never a mixture; ``"mixture"`` many components.
        whiten: whether the frame takes the scouts' full covariance, or only their scales.
        particles: of the scouting sequential Monte Carlo run; they are the witness too.
        pretrain: steps of maximum likelihood on the particles.
        steps: of path gradients, for each attempt.
        batch: draws a step, each a density call.
        rate: learning rate, falling to zero as a cosine.
        widened, spread: share of each batch that is drawn from a wider base, and how wide (less
            than asked from 20 coordinates on); a quarter of it from a narrower one.
        anneal: share of the steps over which the target is annealed in from the reference measure.
        target_ess: stop early at this ESS/N.
        attempts: how many different starts there are, at most, until the witness is content.
        check_draws: draws of the health report.
        chains: Hamiltonian chains that cross-check the flow; 0 for none.
    """

    divergence: Divergence = reverse_kl
    layers: int = 10
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "silu"
    bins: int = 12
    shift_first: bool = True
    linear: Literal["lu", "scale"] = "lu"
    base: Literal["auto", "normal", "mixture"] = "auto"
    whiten: bool = True
    particles: int = 2048
    pretrain: int = 1000
    steps: int = 12000
    batch: int = 128
    rate: float | int = 2e-3
    widened: float | int = 0.5
    spread: float | int = 1.4
    anneal: float | int = 0.0
    target_ess: float | int = 0.9995
    attempts: int = 3
    check_draws: int = 20_000
    chains: int = 8

    def __post_init__(self):
        positive = ("layers", "particles", "steps", "batch", "rate", "spread", "check_draws")
        for name in (*positive, "attempts", "bins"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("widened", "anneal", "target_ess"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.particles < 50 or self.batch < 8 or self.check_draws < 200:
            raise SettingError("needs particles >= 50, batch >= 8 and check_draws >= 200")
        if self.widened == 1:
            raise SettingError("widened must leave some draws of the flow itself; use below 1")


DEFAULT = Method()
"""The default."""

POSTER = Method(
    divergence=jeffreys,
    activation="tanh",
    shift_first=False,
    linear="scale",
    base="normal",
    whiten=False,
    pretrain=0,
    steps=4000,
    batch=512,
    rate=1e-3,
    widened=0.0,
    attempts=1,
)
"""The recipe of arXiv:2310.04635: ten affine couplings, a final scale and shift layer that starts
at the scouts' scales, the Jeffreys divergence, Adam at 1e-3 (here with a cosine decay)."""

METHODS = {"default": DEFAULT, "poster": POSTER}


def make_method(method: "str | Method", changes: dict[str, Any]) -> Method:
    """The method of that name with ``changes``.

    Raises:
        SettingError: an unknown method or setting; the message lists the known ones.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise SettingError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
        method = METHODS[method]
    known = [field.name for field in fields(Method)]
    if unknown := sorted(set(changes) - set(known)):
        raise SettingError(f"unknown settings {unknown}; known: {', '.join(known)}")
    return replace(method, **changes)


def check_limits(
    seed: int,
    budget: int | None,
    seconds: float | int | None,
    checkpoint: str | Path | None,
    resume: bool,
) -> None:
    """Makes sure that a run can be begun as asked.

    Raises:
        SettingError: a negative seed, a limit that is not positive, nothing to resume from.
    """
    if seed < 0:
        raise SettingError(f"seed must be a whole number of at least 0, got {seed}")
    if budget is not None and budget < 1:
        raise SettingError(f"budget must be a positive number of density calls, got {budget}")
    if seconds is not None and not seconds > 0:
        raise SettingError(f"seconds must be positive, got {seconds}")
    if resume and checkpoint is None:
        raise SettingError("resume needs the file to go on from: give checkpoint=")


def plain(method: Method) -> dict[str, Any]:
    """The method's settings as plain values for the card."""
    values = asdict(method)
    values["divergence"] = [list(term) for term in method.divergence.terms]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
