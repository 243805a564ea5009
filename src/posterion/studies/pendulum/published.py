"""What was published: Caldeira and Nord, "Deeply Uncertain", 2004.10710."""

SOURCE = "Caldeira and Nord, 2004.10710"

CORRELATION: dict[str, dict[float, float]] = {
    "ensemble": {0.05: 0.00, 0.1: 0.79, 0.2: 0.84},
    "concrete-dropout": {0.05: 0.00, 0.1: 0.83, 0.2: 0.84},
    "flipout": {0.05: 0.00, 0.1: 0.00, 0.2: 0.76},
}
"""Of the relative error by hand with the relative aleatoric one, by the most noise."""

COVERAGE: dict[str, dict[str, float]] = {
    "ensemble": {"in range": 0.031, "0.8-1.2 m": 0.019, "1.2-1.6 m": 0.055},
    "concrete-dropout": {"in range": 0.011, "0.8-1.2 m": 0.20, "1.2-1.6 m": 0.39},
    "flipout": {"in range": 0.023, "0.8-1.2 m": 0.014, "1.2-1.6 m": 0.137},
}
"""Coverage error by the range of lengths."""

SQUARED_ERROR: dict[str, float] = {"ensemble": 0.49, "concrete-dropout": 0.51, "flipout": 0.51}
"""Mean squared error, (m/s^2)^2, at noise up to 20 %."""
