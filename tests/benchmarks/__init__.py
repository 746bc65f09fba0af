"""Benchmarks: refbnn and other libraries side by side, as ratios. `python -m tests.benchmarks --help`; README.md says the rest."""
