"""Small public tables of facts, with their sources, and what a budget of them takes by default."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Columns by name, which of them are inputs and which is the target, and the likelihood that suits it."""

    name: str
    source: str
    columns: dict[str, np.ndarray]
    inputs: tuple[str, ...]
    target: str
    likelihood: str
    noise_variance: float

    def __str__(self) -> str:
        return f"{self.name}: {self.target} by {', '.join(self.inputs)}. {self.source}"


_CONCENTRATION = np.repeat([0.02, 0.06, 0.11, 0.22, 0.56, 1.10], 2)
_TREATED = np.array([76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200.0])
_UNTREATED = np.array([67, 51, 84, 86, 98, 115, 131, 124, 144, 158, 160.0])
_TEMPERATURE = np.array([66, 70, 69, 68, 67, 72, 73, 70, 57, 63, 70, 78, 67, 53, 67, 75, 70, 81, 76, 79, 75, 76, 58.0])
_DAMAGED = np.array([0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1.0])
_PUROMYCIN = ("M. A. Treloar, 1974, in D. M. Bates and D. G. Watts, Nonlinear Regression Analysis, 1988, appendix A1.3: "
              "substrate concentration in ppm, reaction rate in counts/min²")


def _puromycin(name: str, cells: str, rate: np.ndarray) -> Dataset:
    ppm = _CONCENTRATION[:len(rate)]
    columns = {"concentration": ppm, "log10 concentration": np.log10(ppm), "rate": rate}
    return Dataset(name, f"{_PUROMYCIN}, {cells} cells", columns, ("log10 concentration",), "rate", "normal", 0.05)


DATASETS = {dataset.name: dataset for dataset in (
    _puromycin("puromycin", "treated", _TREATED),
    _puromycin("puromycin-untreated", "untreated", _UNTREATED),
    Dataset("o-rings", "S. R. Dalal, E. B. Fowlkes, B. Hoadley, JASA 84, 1989: the 23 space-shuttle flights before the accident, "
            "launch temperature in °F, and whether any field-joint O-ring was damaged",
            {"temperature": _TEMPERATURE, "damaged": _DAMAGED}, ("temperature",), "damaged", "bernoulli", 1.0),
)}
