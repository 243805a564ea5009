"""The study ``amortised``: posteriors for any data, learned from simulations alone."""
