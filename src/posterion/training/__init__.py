"""Training: ``learn`` turns a density, and ``fit`` samples, into what samples itself."""

from posterion.training.adversarial import WassersteinPenalty
from posterion.training.calibrating import check_calibration
from posterion.training.classifier import Classifier, classify
from posterion.training.closing import check_closure
from posterion.training.comparing import Pair, compare, compare_pair, pair_samples
from posterion.training.distillation import distill
from posterion.training.divergences import (
    Divergence,
    alpha,
    chi_squared,
    forward_kl,
    jeffreys,
    reverse_kl,
)
from posterion.training.ensembles import Ensemble
from posterion.training.ensembling import bootstrap_weights, ensemble
from posterion.training.exporting import export_onnx
from posterion.training.fit import fit
from posterion.training.fitted import Fit
from posterion.training.losses import (
    FlowMatching,
    Loss,
    NegativeLogLikelihood,
    SamplesAndDensity,
)
from posterion.training.method import DEFAULT, POSTER, Method
from posterion.training.mixed import MixedPosterior
from posterion.training.posterior import Posterior, WeightedSample, load
from posterion.training.recipe import FitMethod
from posterion.training.reweighting import Reweighted, reinterpret
from posterion.training.self_learning import learn

__all__ = [
    "DEFAULT",
    "POSTER",
    "Classifier",
    "Divergence",
    "Ensemble",
    "Fit",
    "FitMethod",
    "FlowMatching",
    "Loss",
    "Method",
    "MixedPosterior",
    "NegativeLogLikelihood",
    "Pair",
    "Posterior",
    "Reweighted",
    "SamplesAndDensity",
    "WassersteinPenalty",
    "WeightedSample",
    "alpha",
    "bootstrap_weights",
    "check_calibration",
    "check_closure",
    "chi_squared",
    "classify",
    "compare",
    "compare_pair",
    "distill",
    "ensemble",
    "export_onnx",
    "fit",
    "forward_kl",
    "jeffreys",
    "learn",
    "load",
    "pair_samples",
    "reinterpret",
    "reverse_kl",
]
