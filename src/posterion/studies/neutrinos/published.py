"""Figures published with the releases that flavorpy carries, to stand beside ours.

NuFIT 5.2 (2022) and 5.3 (2024), www.nu-fit.org, with the atmospheric data of Super-Kamiokande;
arXiv:2007.14792. Only these; a release without an entry has none here.
"""

from __future__ import annotations

from math import log10

import numpy as np

SOURCE = "www.nu-fit.org (with SK-atm); arXiv:2007.14792"

PUBLISHED_RANGES: dict[str, dict[str, dict[str, tuple[float, float, float]]]] = {
    "5.2": {
        "NO": {
            "sin2_theta23": (0.451, 0.408, 0.603),
            "Dm2_3l": (2.507, 2.427, 2.590),
            "delta_CP": (232.0, 144.0, 350.0),
            "sin2_theta12": (0.303, 0.270, 0.341),
            "log10_Dm2_21": (log10(7.41e-5), log10(6.82e-5), log10(8.03e-5)),
            "sin2_theta13": (0.02225, 0.02052, 0.02398),
        },
        "IO": {
            "sin2_theta23": (0.569, 0.412, 0.613),
            "Dm2_3l": (-2.486, -2.570, -2.406),
            "delta_CP": (276.0, 194.0, 344.0),
            "sin2_theta12": (0.303, 0.270, 0.341),
            "log10_Dm2_21": (log10(7.41e-5), log10(6.82e-5), log10(8.03e-5)),
            "sin2_theta13": (0.02223, 0.02048, 0.02416),
        },
    },
    "5.3": {
        "NO": {
            "sin2_theta23": (0.454, 0.411, 0.606),
            "Dm2_3l": (2.505, 2.426, 2.586),
            "delta_CP": (232.0, 139.0, 350.0),
            "sin2_theta12": (0.307, 0.275, 0.344),
            "log10_Dm2_21": (log10(7.41e-5), log10(6.81e-5), log10(8.03e-5)),
            "sin2_theta13": (0.02224, 0.02047, 0.02397),
        },
        "IO": {
            "sin2_theta23": (0.568, 0.412, 0.611),
            "Dm2_3l": (-2.487, -2.566, -2.407),
            "delta_CP": (273.0, 195.0, 342.0),
            "sin2_theta12": (0.307, 0.275, 0.344),
            "log10_Dm2_21": (log10(7.41e-5), log10(6.81e-5), log10(8.03e-5)),
            "sin2_theta13": (0.02222, 0.02049, 0.02420),
        },
    },
}
"""By release, ordering and parameter: best fit and 3-sigma range (delta_CP in 0 to 360 degrees)."""

PUBLISHED_MIXING: dict[str, np.ndarray] = {
    "5.2": np.array(
        [
            [[0.803, 0.845], [0.514, 0.578], [0.143, 0.155]],
            [[0.244, 0.498], [0.502, 0.693], [0.632, 0.768]],
            [[0.272, 0.517], [0.473, 0.672], [0.623, 0.761]],
        ]
    )
}
"""By release: 3-sigma ranges of |U|, (3, 3, 2), over both orderings."""
