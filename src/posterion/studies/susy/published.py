"""What was published: Kronheim, Kuchera, Prosper and Karbo, arXiv:2007.04506 and their talk."""

SOURCE = "Kronheim, Kuchera, Prosper and Karbo, 2007.04506 and talk"

PUBLISHED: dict[str, dict[str, float]] = {
    "cross-section": {"percent_error": 3.34, "covered_3": 0.99},
    "higgs-mass": {
        "percent_error": 0.10,
        "covered_3": 0.874,
        "window_overlap.precision": 0.926,
        "window_overlap.recall": 0.997,
        "window_overlap.f1": 0.960,
    },
    "viability": {
        "mean.precision": 0.953,
        "mean.recall": 0.955,
        "mean.f1": 0.954,
        "mean_plus_3_sd.precision": 0.915,
        "mean_plus_3_sd.recall": 0.982,
        "mean_plus_3_sd.f1": 0.947,
    },
}
"""Of each task, by the names of `measuring`."""

MINUTES_A_POINT = 3.5
"""Of the codes that were replaced."""
