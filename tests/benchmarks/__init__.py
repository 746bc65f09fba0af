"""refbnn and other libraries side by side, as ratios of CPU time: `python -m tests.benchmarks --help`; README.md says the rest."""
