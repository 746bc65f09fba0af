"""Distribution functions of continuous targets: those of scipy.stats, with the density of the likelihood for slope."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from refbnn import likelihoods
from refbnn.testing import taylor_order
from tests.judge import agree

RNG = np.random.default_rng(0)
F, Y = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(5, 3))
V = np.array([[0.7, 0.3, -0.1], [0.3, 1.9, 0.2], [-0.1, 0.2, 0.4]])
LAWS = {
    "normal": (likelihoods.Normal(0.37), Y, stats.norm(F, np.sqrt(0.37))),
    "normal_full": (likelihoods.NormalFull(V), Y, stats.norm(F, np.sqrt(np.diagonal(V)))),
    "student_t": (likelihoods.StudentT(0.6, 3.5), Y, stats.t(3.5, F, 0.6)),
    "gamma": (likelihoods.Gamma(2.3), np.exp(Y), stats.gamma(2.3, scale=np.exp(F) / 2.3)),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_distribution_function_and_its_density_are_those_of_scipy(name):
    likelihood, y, law = LAWS[name]
    cdf, density = likelihood.distribution(F, y)
    agree(cdf, law.cdf(y), terms=10)
    agree(density, law.pdf(y), terms=10)


@pytest.mark.parametrize("name", LAWS)
def test_the_density_is_the_slope_of_the_distribution_function(name):
    """Central differences: what is left falls as h²."""
    likelihood, y, _ = LAWS[name]
    cdf, density = (lambda h: likelihood.distribution(F, y + h)[0].sum()), likelihood.distribution(F, y)[1].sum()
    assert abs(taylor_order(lambda h: (cdf(h) - cdf(-h)) / (2 * h) - density) - 2) < 0.1


@pytest.mark.parametrize("name", ["normal", "student_t", "gamma"])
def test_densities_of_all_outputs_multiply_to_the_likelihood(name):
    likelihood, y, _ = LAWS[name]
    agree(np.log(likelihood.distribution(F, y)[1]).sum(-1), likelihood.log_prob(F, y), terms=10, condition=10)


def test_no_gamma_target_is_negative():
    cdf, density = likelihoods.Gamma(2.3).distribution(F, np.minimum(Y, 0.0))
    assert not cdf[:, Y <= 0].any() and not density[:, Y <= 0].any()


def test_shapes_are_checked():
    for likelihood, *_ in LAWS.values():
        with pytest.raises(ValueError, match="y: expected"):
            likelihood.distribution(F, Y[:, :2])
