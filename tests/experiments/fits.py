"""Published least-squares fits of three small networks: their standard deviations are Laplace with the Gauss-Newton matrix.

Each published model is a network with a weight or two held fixed, and each published parameter a function of its weights:

* Rat42, y = b₁/(1 + exp(b₂ − b₃ x)): one sigmoid unit, no output bias;
* Puromycin, v = V c/(K + c) = V σ(log c − log K): one sigmoid unit on log c with input weight 1, no output bias;
* ENSO, a level and three cycles a cos(2πx/T) + b sin(2πx/T), one of them with T = 12: three sin units, one input weight fixed.

Rat42 and ENSO: NIST/ITL StRD, nonlinear least-squares regression, certified to 11 digits (D. A. Ratkowsky, Nonlinear Regression
Modeling, 1983, pp. 61, 88; D. Kahaner, C. Moler, S. Nash, Numerical Methods and Software, 1989, pp. 441-445). Puromycin:
D. M. Bates, D. G. Watts, Nonlinear Regression Analysis and Its Applications, 1988, in the digits that R prints for its copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from refbnn import activations, likelihoods, optimize, priors
from refbnn.budget import Table
from refbnn.networks.mlp import Mlp
from refbnn.posterior import Posterior
from refbnn.quadrature import Integral
from refbnn.subnetwork import Subnetwork

FLAT = 1e-200  # precision of a prior that leaves no trace in double precision
STEP = 1e-30  # of complex derivatives
ROUND_OFF = 1e-12  # relative: what the mode and an inverse of condition 1e4 may lose

ENSO = """12.9 11.3 10.6 11.2 10.9 7.5 7.7 11.7 12.9 14.3 10.9 13.7 17.1 14.0 15.3 8.5 5.7 5.5 7.6 8.6 7.3 7.6 12.7 11.0 12.7 12.9
13.0 10.9 10.4 10.2 8.0 10.9 13.6 10.5 9.2 12.4 12.7 13.3 10.1 7.8 4.8 3.0 2.5 6.3 9.7 11.6 8.6 12.4 10.5 13.3 10.4 8.1 3.7 10.7
5.1 10.4 10.9 11.7 11.4 13.7 14.1 14.0 12.5 6.3 9.6 11.7 5.0 10.8 12.7 10.8 11.8 12.6 15.7 12.6 14.8 7.8 7.1 11.2 8.1 6.4 5.2 12.0
10.2 12.7 10.2 14.7 12.2 7.1 5.7 6.7 3.9 8.5 8.3 10.8 16.7 12.6 12.5 12.5 9.8 7.2 4.1 10.6 10.1 10.1 11.9 13.6 16.3 17.6 15.5 16.0
15.2 11.2 14.3 14.5 8.5 12.0 12.7 11.3 14.5 15.1 10.4 11.5 13.4 7.5 0.6 0.3 5.5 5.0 4.6 8.2 9.9 9.2 12.5 10.9 9.9 8.9 7.6 9.5 8.4
10.7 13.6 13.7 13.7 16.5 16.8 17.1 15.4 9.5 6.1 10.1 9.3 5.3 11.2 16.6 15.6 12.0 11.5 8.6 13.8 8.7 8.6 8.6 8.7 12.8 13.2 14.0 13.4
14.8"""  # Southern Oscillation: monthly differences of air pressure between Easter Island and Darwin


@dataclass(frozen=True, eq=False)
class Fit:
    """A network with data, where published searches start, what was published, and how its parameters follow from the weights."""

    net: Subnetwork
    x: np.ndarray
    y: np.ndarray
    starts: tuple[tuple[float, ...], ...]
    published: dict[str, tuple[str, str]]  # parameter: (value, standard deviation), in the digits that were printed
    residual: str
    weights: Callable[[np.ndarray], np.ndarray]  # published parameters -> weights
    parameters: Callable[[np.ndarray], np.ndarray]  # and back, analytic


def _units(number: int, activation, fixed: dict[int, float]) -> Subnetwork:
    """1-number-1 with some parameters fixed."""
    net = Mlp((1, number, 1), activation)
    at = np.zeros(net.num_params)
    at[list(fixed)] = list(fixed.values())
    return Subnetwork(net, at, np.setdiff1d(np.arange(net.num_params), list(fixed)))


def _cycles_to_weights(b: np.ndarray) -> np.ndarray:
    cosine, sine, periods = b[[1, 4, 7]], b[[2, 5, 8]], b[[3, 6]]
    return np.concatenate([2 * np.pi / periods, np.arctan2(cosine, sine), np.hypot(cosine, sine), b[:1]])


def _weights_to_cycles(theta: np.ndarray) -> np.ndarray:
    rates, phase, size = theta[:2], theta[2:5], theta[5:8]
    cosine, sine, (second, third) = size * np.sin(phase), size * np.cos(phase), 2 * np.pi / rates
    return np.array([theta[8], cosine[0], sine[0], second, cosine[1], sine[1], third, cosine[2], sine[2]])


FITS = {
    "Rat42": Fit(
        _units(1, activations.sigmoid, {3: 0.0}),
        np.array([9, 14, 21, 28, 42, 57, 63, 70, 79.0]),
        np.array([8.93, 10.80, 18.59, 22.33, 39.35, 56.11, 61.73, 64.62, 67.08]),
        ((100, 1, 0.1), (75, 2.5, 0.07)),
        {"b1": ("7.2462237576E+01", "1.7340283401E+00"), "b2": ("2.6180768402E+00", "8.8295217536E-02"),
         "b3": ("6.7359200066E-02", "3.4465663377E-03")},
        "1.1587725499E+00",
        lambda b: np.array([b[2], -b[1], b[0]]), lambda theta: np.array([theta[2], -theta[1], theta[0]])),
    "Puromycin": Fit(
        _units(1, activations.sigmoid, {0: 1.0, 3: 0.0}),
        np.log(np.repeat([0.02, 0.06, 0.11, 0.22, 0.56, 1.10], 2)),
        np.array([76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200.0]),
        ((205, 0.08), (160, 0.05)),
        {"V": ("2.127E+02", "6.947E+00"), "K": ("6.412E-02", "8.281E-03")},
        "1.093E+01",
        lambda b: np.array([-np.log(b[1]), b[0]]), lambda theta: np.array([theta[1], np.exp(-theta[0])])),
    "ENSO": Fit(
        _units(3, activations.sin, {0: 2 * np.pi / 12}),
        np.arange(1, 169.0),
        np.array(ENSO.split(), dtype=float),
        ((11, 3, 0.5, 40, -0.7, -1.3, 25, -0.3, 1.4), (10, 3, 0.5, 44, -1.5, 0.5, 26, -0.1, 1.5)),
        {"b1": ("1.0510749193E+01", "1.7488832467E-01"), "b2": ("3.0762128085E+00", "2.4310052139E-01"),
         "b3": ("5.3280138227E-01", "2.4354686618E-01"), "b4": ("4.4311088700E+01", "9.4408025976E-01"),
         "b5": ("-1.6231428586E+00", "2.8078369611E-01"), "b6": ("5.2554493756E-01", "4.8073701119E-01"),
         "b7": ("2.6887614440E+01", "4.1612939130E-01"), "b8": ("2.1232288488E-01", "5.1460022911E-01"),
         "b9": ("1.4966870418E+00", "2.5434468893E-01")},
        "2.2269642403E+00",
        _cycles_to_weights, _weights_to_cycles),
}


def printed(digits: str) -> Integral:
    """A published number: half a unit of its last digit is its error."""
    exact = Decimal(digits)
    return Integral(float(exact), 0.5 * 10.0 ** exact.as_tuple().exponent)


def _slopes(function: Callable, theta: np.ndarray) -> np.ndarray:
    """∂ parameters/∂ weights, by complex steps."""
    return np.array([function(theta + 1j * STEP * e).imag / STEP for e in np.eye(len(theta))]).T


def found(fit: Fit, start: tuple[float, ...]) -> dict[str, np.ndarray]:
    """The mode from a published start in published parameters, and standard deviations s √diag(D A⁻¹ Dᵀ), A the GGN or Hessian.

    D is the Jacobian of the published parameters in the weights, s² = RSS/(N − p) the usual estimate of the noise variance.
    """
    X, y = fit.x[:, None], fit.y[:, None]
    posterior = Posterior(fit.net, likelihoods.Normal(1.0), priors.isotropic(fit.net.num_params, FLAT), X, y)
    theta = optimize.maximize(posterior, fit.weights(np.array(start, dtype=float))).theta
    squares = ((y - fit.net.forward(theta, X)) ** 2).sum()
    s, D = np.sqrt(squares / (len(y) - len(theta))), _slopes(fit.parameters, theta)
    spread = {name: s * np.sqrt(np.diag(D @ np.linalg.solve(matrix, D.T)))
              for name, matrix in (("GGN", posterior.loss.ggn(theta)), ("Hessian", posterior.loss.hessian(theta)))}
    return {"mode": fit.parameters(theta), "residual": np.array([s]), **spread}


def one(name: str) -> list[tuple]:
    """Rows of one fit, from its first start."""
    fit = FITS[name]
    ours = found(fit, fit.starts[0])
    number = lambda value: Integral(float(value), ROUND_OFF * abs(float(value)))
    rows = [(name, "residual sd", printed(fit.residual), number(ours["residual"][0]), "", "", "")]
    for i, (parameter, (value, spread)) in enumerate(fit.published.items()):
        rows.append((name, parameter, printed(value), number(ours["mode"][i]), printed(spread), number(ours["GGN"][i]),
                     number(ours["Hessian"][i])))
    return rows


def fits(note) -> list[Table]:
    """Published numbers beside those found."""
    columns = ("fit", "parameter", "published", "found", "published sd", "sd by the GGN", "sd by the Hessian")
    rows = []
    for name in FITS:
        note(name)
        rows += one(name)
    return [Table("published fits", 2, columns, tuple(rows))]
