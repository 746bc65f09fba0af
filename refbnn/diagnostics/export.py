"""Draws for ArviZ, which is imported here alone and only when asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from refbnn.shapes import as_array


def to_arviz(posterior: Mapping[str, np.ndarray], sample_stats: Mapping[str, np.ndarray] | None = None) -> object:
    """ArviZ's container (InferenceData, or the DataTree of releases from 1.0) of named draws, each (c t ...).

    `sample_stats` holds what belongs to a draw and is no parameter, under ArviZ's names: lp, energy, diverging, acceptance_rate.
    Raises ImportError without ArviZ, ValueError for arrays whose chains and draws differ.
    """
    groups = {"posterior": dict(posterior), **({"sample_stats": dict(sample_stats)} if sample_stats else {})}
    _refuse_other_lengths(groups)
    try:
        import arviz
    except ImportError as error:
        raise ImportError("to_arviz: expected the package arviz, which is not installed: python -m pip install arviz") from error
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups)
    return arviz.from_dict(**groups)


def _refuse_other_lengths(groups: dict[str, dict[str, np.ndarray]]) -> None:
    shapes = {name: np.shape(values)[:2] for group in groups.values() for name, values in group.items()}
    if not shapes:
        raise ValueError("posterior: expected at least one named array of draws, got none")
    for group in groups.values():
        for name, values in group.items():
            as_array(name, np.reshape(values, (*np.shape(values)[:2], -1)), "c t q")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"posterior: expected the same chains and draws in every array, got {shapes}")
