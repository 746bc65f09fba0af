"""Slow tests run only with `-m`.

Hypothesis profiles: "ci" draws the same examples on every run; REFBNN_HYPOTHESIS=wide draws many new ones."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("ci", max_examples=20, derandomize=True, deadline=None, database=None, print_blob=False)
settings.register_profile(
    "wide", max_examples=1000, derandomize=False, deadline=None, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("REFBNN_HYPOTHESIS", "ci"))


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked slow, unless `-m` says which markers are wanted."""
    if not config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
