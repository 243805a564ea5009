"""Emulators: Bayesian neural networks in place of an expensive theory."""
