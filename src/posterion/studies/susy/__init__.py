"""The study ``susy``: Bayesian networks in place of a spectrum and cross section code."""
