"""Hypothesis profiles: "ci" draws the same examples on every run; REFBNN_HYPOTHESIS=wide draws many new ones."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=20, derandomize=True, deadline=None, database=None, print_blob=False)
settings.register_profile(
    "wide", max_examples=1000, derandomize=False, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("REFBNN_HYPOTHESIS", "ci"))
