"""refbnn and other libraries side by side, in ratios of CPU time: `python -m tests.benchmarks --help`; see README.md."""
