"""Every law of the quadratures fails on the fault that it is there to detect."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest

from refbnn.cubature import collapsed, noise, output_layer, replicates, unit_grid, weights
from refbnn.likelihoods import Gamma, StudentT
from tests import test_cubature as laws
from tests.test_cubature import X_NEW, regression
from tests.test_rejects_faults import after, call, instead, scaled

density_law = call(laws.test_the_collapsed_likelihood_is_the_density_of_the_targets_given_the_hidden_weights, (2, 3, 2))
gradient_law = call(laws.test_the_collapsed_gradient_is_the_slope_of_the_value, (2, 3, 2))
joint_law = laws.test_the_joint_density_is_that_of_hidden_weights_times_that_of_the_output_layer
noise_law = laws.test_noise_with_a_prior_is_the_average_over_known_noise
noise_gradient_law = laws.test_the_gradient_with_a_prior_on_the_noise_is_the_slope_of_the_value
sign_law = laws.test_folding_signs_changes_nothing
dimension_law = call(laws.test_collapsed_and_full_evidence_agree_in_dimensions_that_differ_by_one, (1, 1, 1), 1e-10)
temperature_law = laws.test_a_temperature_weighs_the_data_and_leaves_new_targets_their_noise
gamma_law = call(laws.test_continuous_targets_have_quantiles_whatever_their_noise, Gamma(3.0), np.exp(laws.Y))
student_law = call(laws.test_continuous_targets_have_quantiles_whatever_their_noise, StudentT(0.5, 4.0), laws.Y)
unbiased_law = laws.test_randomised_evidence_is_unbiased_and_its_error_honest


def loop_law(sizes=(1, 2, 1), bias=True, points=7):
    """The sum in blocks is the loop, in several blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_grid, "SIDE", 5)
        blocks_are_the_loop(sizes, bias, points)


def blocks_are_the_loop(sizes, bias, points):
    """With blocks of the size that is set."""
    grid = unit_grid.unit_grid(laws.cubature.collapse(regression(sizes, bias=bias)), points, 3.0)
    laws.agree(laws.log_sum_of(grid), laws.loop(grid), terms=len(grid.points) ** 2, condition=10)


def three_law():
    """The same with a loop around the pairs."""
    loop_law((1, 3, 1), False, 9)


def noise_in_targets_law():
    """The variance of a target is that of f and the noise."""
    posterior = regression((1, 1, 1))
    at = laws.cubature.collapse(posterior).given(np.array([0.4, -0.3]))
    laws.agree(at.targets(X_NEW)[1], at.outputs(X_NEW)[1] + posterior.likelihood.variance, terms=100)


def law_of_draws():
    """Draws of the output layer have its mean and covariance: the map from normals is affine with these."""
    at = laws.cubature.collapse(regression((1, 2, 2))).given(np.array([0.4, -0.3, 1.1, 0.2]))
    mean, covariance = at.parameters()
    zeros = np.zeros((2, 3))
    columns = [at.from_normals(np.eye(6)[j].reshape(2, 3)) - at.from_normals(zeros) for j in range(6)]
    laws.agree(at.from_normals(zeros), mean, terms=100)
    laws.agree(np.transpose(columns) @ columns, covariance, terms=100)


without_two = types.SimpleNamespace(**{name: getattr(math, name) for name in ("pi", "comb")},
                                    log=lambda x: 0.0 if x == 2 else math.log(x))


def without_determinant(result, channel, direction, precision, points):
    """A fixed unit explains targets, but its determinant is forgotten."""
    return unit_grid.Channel(result.features, result.targets, result.precision, channel.log_det)


FAULTS = [
    ("the constant of the noise dropped", after(
        noise.KnownNoise, "log_marginal", lambda r, self, Q, count: r - count * self.log_peak), density_law),
    ("Q not halved", instead(noise.KnownNoise, "log_marginal", lambda self, Q, count: count * self.log_peak - Q / self.variance),
     density_law),
    ("the determinant of the prior dropped", instead(output_layer.OutputPrior, "log_det", np.zeros(1)), density_law),
    ("the mean of the prior dropped", instead(output_layer.OutputPrior, "pull", np.zeros((4, 2))), density_law),
    ("the prior of hidden weights dropped", instead(
        collapsed.Collapsed, "log_prob", collapsed.Collapsed.log_likelihood), joint_law),
    ("ΦS once for two outputs", instead(output_layer.OutputLayer, "total_covariance",
                                        property(lambda self: self.covariance.mean(-3))), gradient_law),
    ("φ′ forgotten", instead(output_layer.Features, "pull_back", lambda self, at, G: at.vjp(G[..., :-1])), gradient_law),
    ("the fit with the wrong sign", scaled(noise.KnownNoise, "slope", -1.0), gradient_law),
    ("no log Γ in the marginal of the noise", after(
        noise.InverseGammaNoise, "log_marginal", lambda r, self, Q, count: r - self.shape * np.log(self.scale)), noise_law),
    ("a where a + c/2 belongs", instead(
        noise.InverseGammaNoise, "slope", lambda self, Q, count: -0.5 * self.shape / (self.scale + 0.5 * Q)), noise_gradient_law),
    ("pairs counted once", instead(unit_grid, "math", without_two), loop_law),
    ("signs counted once", instead(unit_grid, "math", without_two), sign_law),
    ("determinants of fixed units forgotten", after(unit_grid.Channel, "given", without_determinant), three_law),
    ("norms of units counted twice", scaled(unit_grid, "_log_norms", 2.0), loop_law),
    ("the slope of the map from s to z dropped", instead(np, "cosh", np.ones_like), dimension_law),
    ("no noise in targets", instead(output_layer.OutputLayer, "targets", output_layer.OutputLayer.outputs), noise_in_targets_law),
    ("new targets tempered, the output layer collapsed", instead(
        noise.KnownNoise, "given", lambda self, Q, count: noise.NormalLaw(np.full(np.shape(Q), self.variance))), temperature_law),
    ("new targets tempered, all weights on a grid", instead(
        weights.Known, "_likelihood", lambda self: self.posterior.likelihood), temperature_law),
    ("a distribution function that rises too late", after(Gamma, "distribution", lambda r, self, f, y: (r[0] ** 1.1, r[1])),
     gamma_law),
    ("one that is too wide", after(StudentT, "distribution", lambda r, self, f, y: (0.05 + 0.9 * r[0], r[1])), student_law),
    ("S where its root belongs", instead(output_layer.OutputLayer, "_weights", lambda self, z: np.swapaxes(
        self.mean, -1, -2) + (self.covariance @ z[..., None])[..., 0]), law_of_draws),
    ("the root transposed", instead(output_layer.OutputLayer, "_weights", lambda self, z: np.swapaxes(
        self.mean, -1, -2) + (np.swapaxes(np.linalg.cholesky(self.covariance), -1, -2) @ z[..., None])[..., 0]), law_of_draws),
    ("no √r in the standard error", after(replicates, "_log_evidence", lambda r, terms: (r[0], r[1] * len(terms) ** 0.5)),
     unbiased_law),
    ("the mean of logarithms", after(replicates, "_log_evidence", lambda r, terms: (
        np.logaddexp.reduce(terms, 1).mean() - 0.1, r[1])), unbiased_law),
]


@pytest.mark.parametrize("plant, law", [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_planted_fault_is_caught(plant, law, monkeypatch):
    law()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        law()
