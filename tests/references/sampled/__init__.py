"""Reference posteriors too large for quadrature, by samplers that share nothing but the density.

    python -m tests.references.sampled [ID ...] --checkpoints DIR [--workers N]

draws from each posterior of `problems` with several kernels, finds its log evidence in several ways, and writes a JSON file
beside those by quadrature if `standard` has nothing to complain of. Killed at any moment, the same command goes on where it was.
"""
