"""Real data: small tables of facts and scikit-learn's, standardised column by column, rounded to k/256."""

from __future__ import annotations

import math
from fractions import Fraction

from .integers import UNIT

Data = tuple[list, list, list]      # X, y, X_new

IRIS = "Iris: R. A. Fisher, The use of multiple measurements in taxonomic problems, 1936; as in scikit-learn load_iris"
WINE = "Wine: S. Aeberhard and M. Forina, UCI, 1991; as in scikit-learn load_wine"
CANCER = ("Breast Cancer Wisconsin (Diagnostic): W. Wolberg, O. Mangasarian, N. Street, W. Street, UCI, 1995; "
          "as in scikit-learn load_breast_cancer")
DIABETES = ("Diabetes: B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, Least Angle Regression, 2004; "
            "as in scikit-learn load_diabetes(scaled=False)")
DIGITS = "Optical Recognition of Handwritten Digits: E. Alpaydin, C. Kaynak, UCI, 1998; as in scikit-learn load_digits"
LINNERUD = ("Linnerud: A. C. Linnerud, in M. Tenenhaus, La regression PLS, 1998; as in scikit-learn load_linnerud")
O_RINGS = ("Challenger O-rings: S. R. Dalal, E. B. Fowlkes, B. Hoadley, Risk analysis of the space shuttle, "
           "JASA 84, 1989: launch temperature, and whether any field-joint O-ring showed thermal distress")
PUROMYCIN = ("Puromycin: M. A. Treloar, 1974, in D. M. Bates and D. G. Watts, Nonlinear Regression Analysis, 1988, "
             "appendix A1.3: substrate concentration and reaction rate, treated and untreated cells")

# Launch temperature in degrees Fahrenheit, 1 if a field-joint O-ring was damaged: the 23 flights before the accident.
O_RING_FLIGHTS = [
    (66, 0), (70, 1), (69, 0), (68, 0), (67, 0), (72, 0), (73, 0), (70, 0), (57, 1), (63, 1), (70, 1), (78, 0),
    (67, 0), (53, 1), (67, 0), (75, 0), (70, 0), (81, 0), (76, 0), (79, 0), (75, 1), (76, 0), (58, 1)]

# (concentration in ppm, rate in counts/min²), treated with puromycin, then untreated.
TREATED = [(0.02, 76), (0.02, 47), (0.06, 97), (0.06, 107), (0.11, 123), (0.11, 139), (0.22, 159), (0.22, 152),
           (0.56, 191), (0.56, 201), (1.10, 207), (1.10, 200)]
UNTREATED = [(0.02, 67), (0.02, 51), (0.06, 84), (0.06, 86), (0.11, 98), (0.11, 115), (0.22, 131), (0.22, 124),
             (0.56, 144), (0.56, 158), (1.10, 160)]


def standardised(columns: list[list[float]]) -> list[list[Fraction]]:
    """Each column to mean 0 and standard deviation 1, then to the nearest k/256; returned as rows.

    math.fsum and sqrt are correctly rounded, so the result is the same on every machine.
    """
    result = []
    for column in columns:
        mean = math.fsum(column) / len(column)
        std = math.sqrt(math.fsum((v - mean) ** 2 for v in column) / len(column))
        result.append([Fraction(round((v - mean) / std * UNIT), UNIT) for v in column])
    return [list(row) for row in zip(*result)]


def sklearn_data(name: str, **options: bool) -> tuple[list[list[float]], list]:
    """Rows and targets of a scikit-learn data set, as Python numbers."""
    from sklearn import datasets
    bunch = getattr(datasets, f"load_{name}")(**options)
    return bunch.data.tolist(), bunch.target.tolist()


def chosen(rows: list, targets: list, held_out: list[int], kept: list[int], features: list[int]) -> Data:
    """Standardised rows: those kept with their targets, and those held out."""
    scaled = standardised([[row[j] for row in rows] for j in features])
    return [scaled[i] for i in kept], [targets[i] for i in kept], [scaled[i] for i in held_out]


def iris() -> Data:
    """Every seventh flower."""
    rows, targets = sklearn_data("iris")
    return chosen(rows, targets, [3, 60, 75, 110], list(range(0, 150, 7)), [0, 1, 2, 3])


def iris_pair() -> Data:
    """Versicolor against virginica, petals only, every fifth flower."""
    rows, targets = sklearn_data("iris")
    binary = [[int(t == 2)] for t in targets]
    return chosen(rows, binary, [53, 78, 112, 133], list(range(50, 150, 5)), [2, 3])


def wine() -> Data:
    """Six of the thirteen measurements, every ninth bottle."""
    rows, targets = sklearn_data("wine")
    return chosen(rows, targets, [5, 68, 94, 150], list(range(0, 178, 9)), [0, 1, 6, 9, 10, 12])


def cancer() -> Data:
    """Radius, texture, smoothness, concavity and symmetry, every 23rd tumour; 1 is benign."""
    rows, targets = sklearn_data("breast_cancer")
    return chosen(rows, [[t] for t in targets], [7, 105, 308, 500], list(range(0, 569, 23)), [0, 1, 4, 6, 8])


def diabetes(features: list[int]) -> Data:
    """Every 19th patient; the target is standardised too."""
    rows, targets = sklearn_data("diabetes", scaled=False)
    return chosen(rows, standardised([targets]), [4, 111, 222, 333], list(range(0, 442, 19)), features)


def digits() -> Data:
    """Zeros, ones and twos; each image as the mean ink of its eight 2 x 4 blocks, in units of 1/16 of full ink."""
    rows, targets = sklearn_data("digits")
    small = [i for i, t in enumerate(targets) if t < 3]
    blocks = [[Fraction(int(sum(rows[i][8 * (r + a) + c + b] for a in range(4) for b in range(2))), 128)
               for r in (0, 4) for c in (0, 2, 4, 6)] for i in small]
    rounded = [[Fraction(round(v * UNIT), UNIT) for v in row] for row in blocks]
    kept = list(range(0, 66, 3))
    return [rounded[i] for i in kept], [targets[small[i]] for i in kept], [rounded[i] for i in (100, 101, 102, 104)]


def linnerud() -> Data:
    """Chin-ups, sit-ups and jumps of twenty men (in tens, rounded) by weight, waist and pulse."""
    from sklearn import datasets
    bunch = datasets.load_linnerud()
    counts = [[round(v / 10) for v in row] for row in bunch.data.tolist()]
    kept = [i for i in range(20) if i not in (2, 9, 16)]
    return chosen(bunch.target.tolist(), counts, [2, 9, 16], kept, [0, 1, 2])


def o_rings() -> Data:
    """Temperature against damage; predictions at 31 °F, the day of the accident, and at 45, 60 and 75 °F."""
    rows = [[float(t)] for t, _ in O_RING_FLIGHTS] + [[31.0], [45.0], [60.0], [75.0]]
    return chosen(rows, [[damage] for _, damage in O_RING_FLIGHTS], [23, 24, 25, 26], list(range(23)), [0])


def puromycin() -> Data:
    """Rate against log concentration and treatment. The logarithm to base 2 is rounded to 1/256 before it is scaled."""
    measured = [(c, 1.0, rate) for c, rate in TREATED] + [(c, -1.0, rate) for c, rate in UNTREATED]
    X = [[Fraction(round(math.log2(c) * UNIT), UNIT) / 2 + 1, Fraction(int(treated), 2)] for c, treated, _ in measured]
    X = [[Fraction(round(v * UNIT), UNIT) for v in row] for row in X]
    y = standardised([[float(rate) for _, _, rate in measured]])
    return X, y, [[Fraction(-5, 2), Fraction(1, 2)], [Fraction(-1, 2), Fraction(-1, 2)], [Fraction(3, 2), Fraction(1, 2)]]
