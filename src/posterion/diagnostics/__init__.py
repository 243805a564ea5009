"""Whether to believe a result: metrics as pure functions of arrays, and the health report.

- `weights`, `pareto`: importance weights of a flow's draws; `witness`: what other points say of it
- `metropolis`, `autocorrelation`: the exact chain; statistics of chains
- `divergence`, `energy`: distances to exact marginals and between samples; `modes`: lost modes
- `calibration`, `bands`: ranks of the truth among the draws of its posterior, and their band
- `closure`: draws under conditions against outcomes under the same
- `coverage`: intervals that hold what they promise, and the conformal correction
- `logistic_correction`: probabilities of labels that hold what they say
- `comparison`: two samples by the published metrics, each beside its floor
- `findings`, `verdict`, `health`: from measured numbers to the report
"""

from posterion.diagnostics.autocorrelation import (
    autocorrelation,
    ess_bulk,
    ess_tail,
    integrated_time,
    split_rhat,
)
from posterion.diagnostics.bands import UniformBand, uniform_band, uniform_p_value
from posterion.diagnostics.calibrated import Calibration
from posterion.diagnostics.calibration import calibration_of
from posterion.diagnostics.closed import Closure, ClosureTest, LocalCoverage, MarginalRatio
from posterion.diagnostics.closure import closure_of
from posterion.diagnostics.comparison import Comparison, Metric, compare_samples
from posterion.diagnostics.coverage import (
    conformal_factors,
    coverage,
    expected_calibration_error,
    normal_probability,
    rows_for_level,
)
from posterion.diagnostics.divergence import (
    KolmogorovSmirnov,
    jensen_shannon,
    jensen_shannon_floor,
    jensen_shannon_floor_simulated,
    jensen_shannon_of_histograms,
    kolmogorov_smirnov,
    kolmogorov_smirnov_two,
    wasserstein,
)
from posterion.diagnostics.energy import EnergyDistance, energy_distance
from posterion.diagnostics.findings import CrossChains, Findings, Thresholds
from posterion.diagnostics.health import Check, Health, ModeShare
from posterion.diagnostics.metropolis import (
    ExactChain,
    IndependenceChain,
    exact_chain,
    expected_acceptance,
    expected_autocorrelation,
    independence_chain,
)
from posterion.diagnostics.modes import (
    ModeComparison,
    Modes,
    compare_modes,
    find_modes,
    mode_fractions,
)
from posterion.diagnostics.pareto import Psis, fit_generalised_pareto, k_hat, k_hat_limit, psis
from posterion.diagnostics.probabilities import corrected_probabilities, logistic_correction
from posterion.diagnostics.verdict import assess
from posterion.diagnostics.weights import (
    NonFinite,
    WeightReport,
    clean_log_weights,
    ess,
    ess_fraction,
    log_evidence,
    max_weight_share,
    weigh,
)
from posterion.diagnostics.witness import (
    Divergences,
    ExactSampleEss,
    divergences,
    exact_sample_ess,
    forward_kl,
    forward_kl_of_draws,
    reverse_kl,
)

__all__ = [
    "Calibration",
    "Check",
    "Closure",
    "ClosureTest",
    "Comparison",
    "CrossChains",
    "Divergences",
    "EnergyDistance",
    "ExactChain",
    "ExactSampleEss",
    "Findings",
    "Health",
    "IndependenceChain",
    "KolmogorovSmirnov",
    "LocalCoverage",
    "MarginalRatio",
    "Metric",
    "ModeComparison",
    "ModeShare",
    "Modes",
    "NonFinite",
    "Psis",
    "Thresholds",
    "UniformBand",
    "WeightReport",
    "assess",
    "autocorrelation",
    "calibration_of",
    "clean_log_weights",
    "closure_of",
    "compare_modes",
    "compare_samples",
    "conformal_factors",
    "corrected_probabilities",
    "coverage",
    "divergences",
    "energy_distance",
    "ess",
    "ess_bulk",
    "ess_fraction",
    "ess_tail",
    "exact_chain",
    "exact_sample_ess",
    "expected_acceptance",
    "expected_autocorrelation",
    "expected_calibration_error",
    "logistic_correction",
    "find_modes",
    "fit_generalised_pareto",
    "forward_kl",
    "forward_kl_of_draws",
    "independence_chain",
    "integrated_time",
    "jensen_shannon",
    "jensen_shannon_floor",
    "jensen_shannon_floor_simulated",
    "jensen_shannon_of_histograms",
    "k_hat",
    "k_hat_limit",
    "kolmogorov_smirnov",
    "kolmogorov_smirnov_two",
    "log_evidence",
    "max_weight_share",
    "mode_fractions",
    "normal_probability",
    "psis",
    "reverse_kl",
    "rows_for_level",
    "split_rhat",
    "uniform_band",
    "uniform_p_value",
    "wasserstein",
    "weigh",
]
