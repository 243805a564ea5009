"""An LHC-like likelihood of 95 parameters: 90 Poisson bins, one signal, 94 nuisances."""
