"""The Normal with a predicted Cholesky factor: its information by traces, its indefinite curvature, the families inside it."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import likelihoods
from refbnn.likelihoods import HeteroscedasticFull
from tests.judge import agree
from tests.likelihoods.families import polydisc_derivatives

TARGETS = 3
MEANS, FACTOR = slice(0, TARGETS), slice(TARGETS, None)
ROWS, COLUMNS = np.tril_indices(TARGETS)
LOGARITHMIC = TARGETS + np.flatnonzero(ROWS == COLUMNS)


def outputs(seed=3, num_data=5):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (num_data, TARGETS * (TARGETS + 3) // 2)), rng.normal(size=(num_data, TARGETS))


def factor(f):
    """L of one datum, entry by entry."""
    L = np.zeros((TARGETS, TARGETS))
    for value, i, j in zip(f[TARGETS:], ROWS, COLUMNS):
        L[i, j] = np.exp(value) if i == j else value
    return L


def log_density(f, y):
    """log N(y; μ, (L Lᵀ)⁻¹) of one datum, plainly, analytic in f (..., 9)."""
    e, z = y - f[..., :TARGETS], [0.0] * TARGETS
    for a, (i, j) in enumerate(zip(ROWS, COLUMNS), start=TARGETS):
        z[j] = z[j] + (np.exp(f[..., a]) if i == j else f[..., a]) * e[..., i]
    return f[..., LOGARITHMIC].sum(-1) - 0.5 * sum(square**2 for square in z) - 0.5 * TARGETS * np.log(2 * np.pi)


# -- the laws ---------------------------------------------------------------------------------------------------------------


def derivatives_along_lines_are_those_of_the_density(likelihood):
    """r·v, vᵀΛv, T[v, v, v] along 170 lines: more than the 165 entries of a symmetric 9 x 9 x 9 array."""
    f, y = outputs(num_data=1)
    V = np.random.default_rng(4).normal(size=(170, f.shape[-1])) / 3
    r, bend, T = (method(f, y)[0] for method in (likelihood.residual, likelihood.curvature, likelihood.third))
    forms = [V @ r, np.einsum("va,vb,ab->v", V, V, bend), np.einsum("va,vb,vc,abc->v", V, V, V, T)]
    for v, found in zip(V, np.transpose(forms)):
        along = polydisc_derivatives(lambda z, v=v: -log_density(f[0] + z * v, y[0]), np.zeros(1), (1, 2, 3), 0.5)
        assert all(abs(one - expected) <= bound for one, (expected, bound) in zip(found, along))
    assert np.array_equal(bend, bend.T)
    assert all(np.allclose(T, np.transpose(T, axes), rtol=0, atol=1e-14) for axes in ((1, 0, 2), (0, 2, 1), (2, 1, 0)))


def the_information_is_that_of_traces(likelihood):
    """F = diag(L Lᵀ, tr(N_a N_b) + tr(N_a N_bᵀ)), N_a = L⁻¹ ∂L/∂f_a, by loops over a and b."""
    f, _ = outputs()
    for one, found in zip(f, likelihood.fisher(f)):
        L, slopes = factor(one), []
        for i, j in zip(ROWS, COLUMNS):
            slopes.append(np.zeros_like(L))
            slopes[-1][i, j] = L[i, i] if i == j else 1.0
        N = [np.linalg.solve(L, slope) for slope in slopes]
        expected = np.zeros_like(found)
        expected[MEANS, MEANS] = L @ L.T
        for a, A in enumerate(N, start=TARGETS):
            for b, B in enumerate(N, start=TARGETS):
                expected[a, b] = np.trace(A @ B) + np.trace(A @ B.T)
        agree(found, expected, terms=30 * np.linalg.cond(L))


def each_entry_of_the_last_row_makes_the_curvature_indefinite(likelihood):
    """Λ_aa − Λ_aμ (L Lᵀ)⁻¹ Λ_μa = −z_j²/L_tt² for a = L_tj, −2 z_t² for a = log L_tt: one of them is negative if y ≠ μ."""
    f, y = outputs()
    for one, target, bend in zip(f, y, likelihood.curvature(f, y)):
        L = factor(one)
        z = L.T @ (target - one[MEANS])
        for j, a in enumerate(np.flatnonzero(ROWS == TARGETS - 1) + TARGETS):
            complement = bend[a, a] - bend[a, MEANS] @ np.linalg.solve(L @ L.T, bend[MEANS, a])
            expected = -2 * z[j] ** 2 if j == TARGETS - 1 else -(z[j] ** 2) / L[-1, -1] ** 2
            agree(complement, expected, terms=30 * np.linalg.cond(L) ** 2, scale=bend[a, a] + abs(expected))


def one_target_is_predicted_noise(likelihood):
    """t = 1, outputs (μ, log L): those of (μ, log σ²) with log σ² = −2 log L."""
    rng = np.random.default_rng(5)
    f, y = rng.normal(size=(7, 2)), rng.normal(size=(7, 1))
    plain, h = likelihoods.Heteroscedastic(), np.array([1.0, -2.0])
    agree(likelihood.log_prob(f, y), plain.log_prob(f * h, y), terms=10)
    agree(likelihood.residual(f, y), plain.residual(f * h, y) * h, terms=10)
    agree(likelihood.curvature(f, y), plain.curvature(f * h, y) * np.outer(h, h), terms=10)
    agree(likelihood.third(f, y), plain.third(f * h, y) * np.multiply.outer(np.outer(h, h), h), terms=10)
    agree(likelihood.fisher(f), plain.fisher(f * h) * np.outer(h, h), terms=10)


def at_one_factor_it_is_the_normal_with_full_noise(likelihood):
    """At the same L everywhere: the Normal with noise (L Lᵀ)⁻¹ in the means."""
    f, y = outputs()
    f[:, TARGETS:] = f[0, TARGETS:]
    L = factor(f[0])
    fixed, terms = likelihoods.NormalFull(np.linalg.inv(L @ L.T)), 30 * np.linalg.cond(L) ** 2
    agree(likelihood.log_prob(f, y), fixed.log_prob(f[:, MEANS], y), terms=terms)
    agree(likelihood.residual(f, y)[:, MEANS], fixed.residual(f[:, MEANS], y), terms=terms)
    agree(likelihood.curvature(f, y)[:, MEANS, MEANS], fixed.curvature(f[:, MEANS], y), terms=terms)
    agree(likelihood.mean(f), fixed.mean(f[:, MEANS]), terms=1)
    agree(likelihood.covariance(f), fixed.covariance(f[:, MEANS]), terms=terms)


LAWS = [derivatives_along_lines_are_those_of_the_density, the_information_is_that_of_traces, one_target_is_predicted_noise,
        each_entry_of_the_last_row_makes_the_curvature_indefinite, at_one_factor_it_is_the_normal_with_full_noise]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_law_of_the_predicted_factor_holds(law):
    """Eqs. (heteroscedastic-full), (heteroscedastic-full-fisher) and (heteroscedastic-full-indefinite)."""
    law(HeteroscedasticFull())


def test_only_a_datum_at_the_mean_has_a_root():
    f, y = outputs()
    y[2] = f[2, MEANS]
    root = HeteroscedasticFull().factor(f[2:3], y[2:3])[0]
    agree(root @ root.T, HeteroscedasticFull().curvature(f[2:3], y[2:3])[0], terms=10)
    with pytest.raises(ValueError, match="datum 0, target 0.*Use fisher"):
        HeteroscedasticFull().factor(f, y)


# -- on planted faults ------------------------------------------------------------------------------------------------------


def entries(*index, factor=1.0, shift=0.0):
    """The fault: some entries of a result multiplied and moved."""
    def change(value):
        value = np.array(value)
        value[(..., *index)] = factor * value[(..., *index)] + shift
        return value
    return change


FAULTS = {
    "residual without the normaliser": (0, "residual", entries(LOGARITHMIC, shift=1.0)),
    "the factor read by columns": (0, "residual", lambda r: r[..., [0, 1, 2, 3, 6, 5, 4, 7, 8]]),
    "bend of the exponential forgotten": (0, "curvature", entries(LOGARITHMIC[1], LOGARITHMIC[1], factor=0.9)),
    "sign of the third derivatives in a mean and two entries": (0, "third", entries(MEANS, FACTOR, FACTOR, factor=-1.0)),
    "information without tr(N_a N_b)": (1, "fisher", entries(LOGARITHMIC, LOGARITHMIC, shift=-1.0)),
    "information without the slope of the logarithm": (1, "fisher", entries(LOGARITHMIC[0], LOGARITHMIC[0], factor=0.5)),
    "a precision for its root": (2, "curvature", entries(0, 0, factor=2.0)),
    "sign of the mixed block": (3, "curvature", lambda bend: np.abs(bend)),
    "covariance for precision": (4, "covariance", np.linalg.inv),
    "residual of the means by the transposed factor": (4, "residual", lambda r: r[..., ::-1]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_a_law_of_the_predicted_factor(fault, monkeypatch):
    law, method, change = FAULTS[fault]
    true = getattr(HeteroscedasticFull, method)
    monkeypatch.setattr(HeteroscedasticFull, method, lambda self, *arguments: change(true(self, *arguments)))
    with pytest.raises(AssertionError):
        LAWS[law](HeteroscedasticFull())


def test_samples_are_the_mean_and_the_factors_inverse_times_standard_normals():
    f, _ = outputs()
    found, z = HeteroscedasticFull().sample(f, np.random.default_rng(5)), np.random.default_rng(5).standard_normal((5, TARGETS))
    plain = [f[n, MEANS] + np.linalg.solve(factor(f[n]).T, z[n]) for n in range(len(f))]
    agree(found, np.stack(plain), terms=100)
