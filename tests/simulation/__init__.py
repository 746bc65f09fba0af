"""Samplers, networks, likelihoods and priors held against each other by simulation: `python -m tests.simulation --help`."""
