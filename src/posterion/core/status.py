"""How a result stands, in one word and in one sentence that says what to do."""

import enum

from posterion.core.registry import register

__all__ = ["Status"]


@register("status")
class Status(enum.Enum):
    """The verdict on a result; each member carries a sentence that says what to do.

    >>> Status.undertrained.name
    'undertrained'
    >>> Status("budget_exhausted").ok
    False
    """

    sentence: str
    """What the status means and what to do."""

    def __new__(cls, value: str, sentence: str) -> "Status":
        member = object.__new__(cls)
        member._value_ = value
        member.sentence = sentence
        return member

    converged = (
        "converged",
        "The flow agrees with the density and with every independent witness that may testify: use "
        "sample() as it is, and importance_sample() where the last per mille matters.",
    )
    fitted = (
        "fitted",
        "The draws cannot be told from samples that the fit never saw: use sample() and log_prob() "
        "as they are, as far as that many samples can tell.",
    )
    misfit = (
        "misfit",
        "The draws can be told from samples that the fit never saw: take a larger or another flow "
        "or more samples, and until then neither draws nor densities to the percent.",
    )
    still_improving = (
        "still_improving",
        "The draws can be told from held-out samples, and the loss was still falling when the "
        "epochs ran out: fit longer (epochs=...).",
    )
    scored = (
        "scored",
        "What was learned is no distribution: ask quantile(), of which the loss on rows that the "
        "fit never saw stands below.",
    )
    calibrated = (
        "calibrated",
        "Rows that the networks never saw lie within the error bars at least as often as these "
        "promise, and chains, where there are any, agree on what they predict: use predict() "
        "within the range that was trained on.",
    )
    overconfident = (
        "overconfident",
        "Rows that the networks never saw lie outside of the raw error bars more often than these "
        "promise: use interval(), whose conformal correction holds, or a larger network.",
    )
    chains_disagree = (
        "chains_disagree",
        "The chains do not agree on what they predict: sample longer (warmup, thin, draws); until "
        "then the error bars are rough, and the mean is as good as its errors on the test rows.",
    )
    unproven = (
        "unproven",
        "Whether the error bars hold has not been measured: give more rows, hold at least a "
        "hundred out for the test, and of a sampler run at least two chains.",
    )
    unfaithful = (
        "unfaithful",
        "The one network is further from the emulator's many than is stated to be harmless: distil "
        "on more points (rows), for more epochs or into a larger network, or use the emulator.",
    )
    unwitnessed = (
        "unwitnessed",
        "The flow fits the density wherever it draws, but nothing independent has looked for modes "
        "and tails that it may lack: run `posterion check` with the density before trusting it.",
    )
    mode_collapse_suspected = (
        "mode_collapse_suspected",
        "Independent particles find probability where the flow draws next to nothing: do not use "
        "the draws; learn again with more particles, another seed or a wider `scale`.",
    )
    missing_tail_suspected = (
        "missing_tail_suspected",
        "The flow's tails are thinner than the posterior's: limits and rare regions are unreliable "
        "and a few weights can dominate; learn longer or with a larger flow.",
    )
    witness_disagrees = (
        "witness_disagrees",
        "The flow and the independent chain give different distributions: run longer chains; if "
        "the difference stays, learn again with another seed.",
    )
    undertrained = (
        "undertrained",
        "The flow reaches the posterior but does not fit it yet: learn longer or with a larger "
        "flow; until then use importance_sample() in place of sample().",
    )
    budget_exhausted = (
        "budget_exhausted",
        "The budget ran out before the flow fitted: raise `budget` or resume; until then use "
        "importance_sample() in place of sample(), and only as far as the checks below allow.",
    )
    interrupted = (
        "interrupted",
        "Learning was interrupted: resume from its checkpoint; until then the result is worth what "
        "the checks below say.",
    )
    density_not_finite = (
        "density_not_finite",
        "The density is NaN or +inf inside the declared support: mend it there or narrow the "
        "bounds; such draws carry no weight and are counted below.",
    )
    not_checked = (
        "not_checked",
        "Nothing has been measured: run `posterion check` with the density before using the draws.",
    )
    failed = (
        "failed",
        "Learning gave nothing usable: look at the density, the bounds and the notes below, then "
        "learn again.",
    )

    @property
    def ok(self) -> bool:
        """Whether what was learned may be used as it is."""
        return self in (Status.converged, Status.fitted, Status.scored, Status.calibrated)
