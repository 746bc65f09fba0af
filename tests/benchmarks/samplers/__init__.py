"""One program a sampler: `python -m tests.benchmarks.samplers.NAME PROBLEM FILE` writes what it drew and the CPU seconds."""
