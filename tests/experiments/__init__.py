"""Experiments that only exact ground truth makes possible, on several data sets, precisions and seeds: what notebook 14 reads.

    python -m tests.experiments [NAME ...]

writes one JSON file an experiment into tests/experiments/data: tables whose numbers carry their errors (refbnn.budget.Table).
"""
