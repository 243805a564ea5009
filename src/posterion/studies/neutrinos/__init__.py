"""Neutrino oscillations: the posterior of six parameters from the tables of NuFIT."""
