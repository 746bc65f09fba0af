"""The Gaussian over every structure of precision, and the precisions themselves."""

import math

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from refbnn import Gaussian
from refbnn.gaussian import kl
from refbnn.linalg import NotPositiveDefinite
from refbnn.precision import Dense, Diagonal, product
from tests import oracles
from tests.judge import agree, mean_agrees

gaussians = st.tuples(st.sampled_from(("dense", "diagonal")), st.integers(1, 7), st.integers(0, 2**16))


def draw(kind, size, seed):
    """A Gaussian, its precision as a plain array, and the generator."""
    rng = np.random.default_rng([seed, size])
    A = rng.normal(size=(size, size))
    P = A @ A.T + 0.5 * np.eye(size) if kind == "dense" else np.diag(rng.uniform(0.3, 3.0, size))
    precision = Dense(P) if kind == "dense" else Diagonal(np.diagonal(P))
    return Gaussian(rng.normal(size=size), precision), P, rng


def log_density(mean, P, theta):
    """log N(theta; mean, P⁻¹) for one or many complex theta."""
    shift = theta - mean
    quadratic = np.einsum("...i,ij,...j->...", shift, P, shift)
    return -quadratic / 2 + np.log(np.linalg.det(P)) / 2 - len(P) / 2 * math.log(2 * math.pi)


@given(gaussians)
def test_the_log_density_has_every_constant(drawn):
    q, P, rng = draw(*drawn)
    theta = rng.normal(size=(3, len(P)))
    agree(q.log_prob(theta), log_density(q.mean, P, theta), terms=len(P) ** 2, condition=np.linalg.cond(P))


@given(gaussians)
def test_the_gradient_is_the_complex_step_of_the_log_density(drawn):
    q, P, rng = draw(*drawn)
    theta = rng.normal(size=len(P))
    agree(q.gradient(theta), oracles.complex_step(lambda points: log_density(q.mean, P, points), theta),
          terms=len(P) ** 2, condition=np.linalg.cond(P))


@given(gaussians)
def test_the_covariance_is_the_inverse_of_the_precision_and_the_scale_its_upper_triangular_root(drawn):
    """Eq. (wrong-triangle)."""
    q, P, _ = draw(*drawn)
    kappa = np.linalg.cond(P)
    agree(q.covariance() @ P, np.eye(len(P)), terms=len(P) ** 2, condition=kappa)
    agree(q.scale() @ q.scale().T, q.covariance(), terms=len(P))
    assert not np.tril(q.scale(), -1).any() and (np.diagonal(q.scale()) > 0).all()


@given(gaussians)
def test_given_normals_become_draws_by_one_linear_map_whose_square_is_the_covariance(drawn):
    """Identity G33: M = from_normals(unit vectors) − mean, M Mᵀ P = I. Eq. (laplace-sampling)."""
    q, P, rng = draw(*drawn)
    M = (q.from_normals(np.eye(len(P))) - q.mean).T
    agree(M @ M.T @ P, np.eye(len(P)), terms=len(P) ** 2, condition=np.linalg.cond(P), scale=len(P))
    z = rng.normal(size=(2, 3, len(P)))
    agree(q.from_normals(z), q.mean + z @ q.scale().T, terms=len(P), condition=np.linalg.cond(P))


@given(gaussians)
def test_every_precision_method_is_that_of_the_full_matrix(drawn):
    q, P, rng = draw(*drawn)
    precision, v = q.precision, rng.normal(size=(2, 3, len(P)))
    kappa, terms = np.linalg.cond(P), len(P) ** 2
    assert precision.num_params == q.num_params == len(P)
    agree(precision.matrix(), P, terms=1)
    agree(precision.diagonal(), np.diagonal(P), terms=1)
    for times in (precision.matvec, product(precision)):
        agree(times(v), np.einsum("ij,...j->...i", P, v), terms=terms)
    agree(precision.solve(v), np.einsum("ij,...j->...i", np.linalg.inv(P), v), terms=terms, condition=kappa)
    agree(precision.log_det(), np.linalg.slogdet(P)[1], terms=terms, condition=kappa, scale=1 + abs(np.linalg.slogdet(P)[1]))
    agree(precision.scale_matvec(v), v @ q.scale().T, terms=terms, condition=kappa)
    agree(precision.scale_transposed_matvec(v), v @ q.scale(), terms=terms, condition=kappa)
    quadratic = np.einsum("...i,ij,...j->...", v, np.linalg.inv(P), v)
    agree((precision.scale_transposed_matvec(v) ** 2).sum(-1), quadratic, terms=terms, condition=kappa)


@given(gaussians)
def test_a_matrix_can_be_added_from_either_side(drawn):
    q, P, rng = draw(*drawn)
    G = rng.normal(size=P.shape)
    G = G @ G.T
    for total in (q.precision + G, G + q.precision, q.precision + Dense(G + np.eye(len(G)))):
        assert isinstance(total, Dense)
    agree((q.precision + G).matrix(), P + G, terms=2)
    agree((G + q.precision).matrix(), P + G, terms=2)
    agree((q.precision + q.precision).matrix(), 2 * P, terms=2)


@given(gaussians)
def test_batched_calls_equal_loops_over_single_ones(drawn):
    q, P, rng = draw(*drawn)
    thetas = rng.normal(size=(2, 3, len(P)))
    for function in (q.log_prob, q.gradient, q.from_normals, q.precision.matvec, q.precision.solve,
                     q.precision.scale_matvec, q.precision.scale_transposed_matvec):
        looped = np.array([[function(theta) for theta in row] for row in thetas])
        agree(function(thetas), looped, terms=len(P) ** 2, condition=np.linalg.cond(P))


@given(gaussians)
def test_the_entropy_is_minus_the_expected_log_density(drawn):
    """E[log q] by the Gaussian second moments: the log density at the mean minus half the expected quadratic, p/2."""
    q, P, _ = draw(*drawn)
    expected = -(log_density(q.mean, P, q.mean) - len(P) / 2)
    agree(q.entropy(), expected, terms=len(P) ** 2, condition=np.linalg.cond(P), scale=len(P) + abs(expected))


@example(drawn=("dense", 4, 9), kind="dense", seed=3)
@example(drawn=("diagonal", 1, 0), kind="dense", seed=0)
@given(drawn=gaussians, kind=st.sampled_from(("dense", "diagonal")), seed=st.integers(0, 2**16))
def test_the_divergence_is_the_expected_log_ratio(drawn, kind, seed):
    """E_q[log q − log p] with the expectation of each quadratic written out: (m − μ)ᵀP(m − μ) + tr(P Σ)."""
    q, P_q, _ = draw(*drawn)
    p, P_p, _ = draw(kind, drawn[1], seed + 1)
    S = np.linalg.inv(P_q)

    def expected(mean, P):
        return log_density(mean, P, q.mean) - 0.5 * np.trace(P @ S)

    kappa = np.linalg.cond(P_q) * np.linalg.cond(P_p)
    truth = expected(q.mean, P_q) - expected(p.mean, P_p)
    agree(kl(q, p), truth, terms=len(S) ** 2, condition=kappa, scale=len(S) + abs(truth))
    assert kl(q, p) > 0
    agree(kl(q, q), 0.0, terms=len(S) ** 2, scale=len(S), condition=np.linalg.cond(P_q))


def test_the_divergence_of_two_known_gaussians():
    """KL(N(1, 1) ‖ N(0, 4)) = log 2 + (1 + 1)/8 − 1/2."""
    q, p = Gaussian([1.0], Diagonal([1.0])), Gaussian([0.0], Diagonal([0.25]))
    agree(kl(q, p), math.log(2) + 2 / 8 - 0.5, terms=10)


@pytest.mark.parametrize("kind", ["dense", "diagonal"])
def test_samples_have_the_mean_and_covariance(kind):
    """40 000 draws in 3 dimensions: sees errors of 0.1 in means and 0.3 in covariances, false alarms 1e-6 each."""
    q, P, _ = draw(kind, 3, 5)
    thetas = q.sample(np.random.default_rng(0), (200, 200))
    assert thetas.shape == (200, 200, 3) and q.sample(np.random.default_rng(0)).shape == (3,)
    centred = thetas.reshape(-1, 3) - q.mean
    mean_agrees(centred, np.zeros(3), smallest_effect=0.1)
    mean_agrees(np.einsum("si,sj->sij", centred, centred), np.linalg.inv(P), smallest_effect=0.3)


def test_a_sample_is_the_map_of_the_generators_normals():
    q, _, _ = draw("dense", 4, 6)
    z = np.random.default_rng(1).standard_normal((3, 4))
    assert np.array_equal(q.sample(np.random.default_rng(1), (3,)), q.from_normals(z))


def test_a_matrix_that_is_not_positive_definite_is_refused_with_its_smallest_eigenvalue():
    with pytest.raises(NotPositiveDefinite, match="smallest eigenvalue -1"):
        Dense(np.array([[1.0, 2.0], [2.0, 1.0]]))


def test_asymmetry_at_round_off_is_averaged_away_and_more_is_refused():
    P = np.array([[2.0, 1.0], [1.0 + 2e-16, 2.0]])
    assert np.array_equal(Dense(P).matrix(), Dense(P).matrix().T)
    for scale in (1e-200, 1e-20, 1.0, 1e20):
        Dense(scale * P)
        with pytest.raises(ValueError, match="symmetric"):
            Dense(scale * np.array([[2.0, 1.0], [1 + 1e-12, 2.0]]))
