"""Every law of the processes fails on the fault that it is there to detect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from refbnn import duals, gp, linalg, optimize
from refbnn.gp import conditioned, gradients, left_out, multiclass, newton, weights
from refbnn.gp.at_data import AtData
from refbnn.gp.conditioned import Conditioned
from refbnn.gp.process import GaussianProcess
from refbnn.gp.sites import Sites
from tests import test_gp as laws
from tests.test_gp import CLASSES, COUNTS
from tests.test_rejects_faults import after, call, draws, instead, on, scaled
from tests.zoo import Spec

RELU = Spec((3, 5, 4, 2), "relu", "bernoulli", bias=False, num_data=7, seed=3)

posterior_law = laws.test_the_posterior_over_functions_is_that_over_weights
any_point_law = laws.test_the_evidence_at_any_point_of_linearisation_has_half_the_squared_gradient_more_than_the_usual_formula
density_law = laws.test_the_evidence_of_regression_is_the_density_of_the_targets_under_the_process
pseudo_law = laws.test_regression_on_pseudo_targets_has_the_mean_and_the_covariance_of_the_gauss_newton_step
newton_law = laws.test_laplace_over_functions_is_laplace_over_the_weights_of_the_linearised_network
report_law = laws.test_what_newton_reports_is_true
left_out_law = laws.test_leaving_one_datum_out_in_closed_form_is_leaving_it_out
textbook_law = laws.test_the_left_out_density_of_a_normal_is_that_of_the_textbook
chain_law = laws.test_the_evidence_is_the_sum_of_what_each_datum_says_after_those_before_it
parts_law = laws.test_data_in_two_parts_are_data_at_once
draws_law = laws.test_draws_are_an_affine_map_of_normals_with_the_covariance_of_the_posterior
gradient_law = laws.test_the_total_gradient_in_the_log_precisions_is_the_slope_of_the_evidence
direct_law = laws.test_the_gradient_with_fixed_sites_is_that_of_weight_space
noise_law = laws.test_the_gradient_in_the_log_variance_is_the_slope_of_the_evidence_of_regression
determinant_law = laws.test_the_determinant_class_by_class_is_the_determinant


def function(name, owner, change):
    """Plant: a function of a module of gp, and the name that gp exports, go through change(result, *arguments)."""
    def plant(patch):
        for module in (owner, gp):
            after(module, name, change)(patch)

    return plant


def of_solver(name, faulty):
    """Plant: another cached property of AtData."""
    return instead(AtData, name, property(faulty))


def without_class_coupling(value, kernels, p):
    """Σ_c log |B_c| alone: algorithm 3.3 as it circulates."""
    roots = np.sqrt(np.asarray(p).T)
    return sum(np.linalg.slogdet(np.eye(len(K)) + root[:, None] * K * root)[1] for K, root in zip(kernels, roots))


def inverse_of_curvature(self, shift, r):
    """(K + Λ⁻¹)⁻¹ with jitter on Λ, as code does that cannot take a singular one."""
    noise = np.linalg.inv(self.sites.curvature() + 1e-2 * np.eye(self.sites.num_outputs))
    targets = (shift - (noise @ r[..., None])[..., 0]).ravel()
    return np.linalg.solve(self.K + laws.stacked(noise), targets).reshape(shift.shape)


def evidence_at_expansion(self):
    """The usual formula, which supposes that the sites stand at the mode: log p(y|f₀) − ½ αᵀKα − ½ log |B|."""
    quadratic = (self.alpha * self.times_kernel(self.alpha)).sum()
    return float(self.sites.log_prob.sum() - 0.5 * quadratic - 0.5 * linalg.log_det_from_cholesky(self.L))


def direct_alone(total, found, likelihood, y):
    """The gradient without the movement of the mode."""
    return gradients.log_precision_gradient(found.posterior)


def noise_scaled(factor):
    """Plant: the normals of the sites count `factor` times."""
    true = weights.draws

    def plant(patch):
        for module in (weights, gp):
            patch.setattr(module, "draws", lambda posterior, z, z_sites: true(posterior, z, factor * np.asarray(z_sites)))

    return plant


def prior_draw_only(thetas, posterior, z, z_sites):
    """θ₀ alone."""
    return posterior.process.gaussian.from_normals(z)


ROWS = [
    ("G17 kernel without the prior", instead(
        duals, "kernel", lambda left, right, precision: np.einsum("akp,blp->akbl", left.jacobian(), right.jacobian())),
     (on(laws.test_the_process_of_a_gaussian_over_weights_has_its_mean_and_its_kernel), on(posterior_law, CLASSES))),
    ("G16 prior mean of zero", scaled(GaussianProcess, "mean", 0.0),
     (on(laws.test_the_process_of_a_gaussian_over_weights_has_its_mean_and_its_kernel), on(posterior_law),
      on(laws.test_the_prior_mean_of_a_homogeneous_network_is_not_zero_but_minus_depth_less_one_times_the_outputs, RELU))),
    ("G4 variances of outputs without their covariances", after(
        GaussianProcess, "covariance", lambda C, *_: C * np.eye(C.shape[-1])),
     (on(laws.test_the_process_of_a_gaussian_over_weights_has_its_mean_and_its_kernel), on(posterior_law, CLASSES))),
    ("G4 singular Λ inverted with jitter", instead(AtData, "coefficients", inverse_of_curvature),
     (on(posterior_law, CLASSES), on(any_point_law, CLASSES))),
    ("G4 posterior covariance of the wrong sign", after(
        Conditioned, "kernel", lambda C, self, X, Z: 2 * self.process.kernel(X, Z) - C),
     (on(posterior_law), on(laws.test_data_narrow_the_process_in_every_direction))),
    ("G4 prior covariance returned", instead(Conditioned, "covariance", lambda self, X: self.process.covariance(X)),
     (on(posterior_law), on(newton_law, CLASSES))),
    ("G4 diagonal Λ: every output by itself", instead(laws, "expanded", lambda case, true=laws.expanded: replace(
        true(case), S=np.sqrt(true(case).curvature() * np.eye(case.net.num_outputs)))),
     (on(posterior_law, CLASSES), on(any_point_law, CLASSES))),
    ("G6 sign of r", instead(laws, "expanded", lambda case, true=laws.expanded: replace(true(case), r=-true(case).r)),
     (on(posterior_law), on(any_point_law), on(posterior_law, CLASSES))),
    ("G6 pseudo-targets f + Λ⁻¹r", after(Sites, "pseudo_targets", lambda t, sites: 2 * sites.f - t), (on(pseudo_law, COUNTS),)),
    ("G6 pseudo-noise is a precision", after(Sites, "pseudo_noise", lambda V, sites: np.linalg.inv(V)),
     (on(pseudo_law, COUNTS),)),
    ("G5 ½ missing before log |B|", of_solver(
        "log_evidence", lambda self, true=AtData.log_evidence: true.func(self) - 0.5 * linalg.log_det_from_cholesky(self.L)),
     (on(any_point_law), on(density_law), on(newton_law, CLASSES))),
    ("G7 ½ ∇ᵀA⁻¹∇ dropped", of_solver("log_evidence", evidence_at_expansion), (on(any_point_law), on(any_point_law, CLASSES))),
    ("G27 α = +r", instead(newton, "_search", lambda point, limit, true=newton._search: (
        (found := true(point, limit))[0].moved(-found[0].alpha), found[1])), (on(newton_law, CLASSES), on(report_law, COUNTS))),
    ("G27 one Newton step", instead(newton, "_search", lambda point, limit: (point.moved(point.alpha + point.step), 1)),
     (on(newton_law, CLASSES), on(report_law, COUNTS))),
    ("no convergence accepted", instead(newton, "CONVERGED", np.inf), (laws.test_newton_without_convergence_is_refused,)),
    ("steps never halved", instead(newton, "_damped", lambda point: point.moved(point.alpha + point.step)),
     (laws.test_a_prior_mean_that_is_sure_and_wrong_does_not_stop_newton,)),
    ("the decrement without its likelihood part", instead(newton._Point, "decrement", property(lambda self: float(
        np.sqrt((self.step * self.at_data.times_kernel(self.step)).sum())))), (on(report_law, CLASSES),)),
    ("G10 the datum left in", function("leave_one_out", left_out, lambda L, posterior: replace(
        L, mean=posterior.mean(posterior.X), covariance=posterior.covariance(posterior.X))),
     (on(left_out_law), on(textbook_law))),
    ("G10 mean shifted by the covariance with the datum", function("leave_one_out", left_out, lambda L, posterior: replace(
        L, mean=posterior.mean(posterior.X) - (posterior.covariance(posterior.X) @ posterior.alpha[..., None])[..., 0])),
     (on(left_out_law), on(textbook_law), on(left_out_law, CLASSES))),
    ("G10 density without its determinant", function("leave_one_out", left_out, lambda L, posterior: replace(
        L, log_density=L.log_density + 0.5 * np.linalg.slogdet(
            np.eye(L.mean.shape[1]) + L.covariance @ posterior.sites.curvature())[1])),
     (on(left_out_law), on(left_out_law, RELU))),
    ("G9 every datum after all others", function("prequential", left_out, lambda terms, posterior: left_out.leave_one_out(
        posterior).log_density), (on(chain_law),)),
    ("G9 every datum under the prior", function("prequential", left_out, lambda terms, posterior: np.array([
        conditioned.condition(posterior.process, posterior.X[n:n + 1], posterior.sites[n:n + 1]).log_evidence
        for n in range(len(terms))])), (on(chain_law), on(chain_law, CLASSES))),
    ("G11 the second part of the data conditions the prior", instead(
        laws.gp, "condition", lambda process, X, sites, true=gp.condition: true(
            getattr(process, "process", process), X, sites)), (on(parts_law), on(chain_law, CLASSES))),
    ("G13 γ = p", instead(Conditioned, "effective_parameters", lambda self: float(self.process.net.num_params)),
     (on(laws.test_the_effective_number_of_parameters_agrees_in_all_its_forms), noise_law)),
    ("G21 prior draws", function("draws", weights, prior_draw_only), (on(draws_law), on(draws_law, CLASSES))),
    ("G21 optimise without disturbing the targets", noise_scaled(0.0),
     (on(draws_law), laws.test_a_draw_minimises_the_loss_with_disturbed_targets_and_a_disturbed_prior_mean)),
    ("G21 noise scaled by the variance, not its root", noise_scaled(np.sqrt(0.37)),
     (on(draws_law), laws.test_a_draw_minimises_the_loss_with_disturbed_targets_and_a_disturbed_prior_mean)),
    ("G28 prior covariance for influence", instead(
        Conditioned, "influence", lambda self, X: self.process.kernel(X, self.X)),
     (on(laws.test_influence_is_the_derivative_of_the_mean_in_what_each_datum_says),
      laws.test_in_regression_influence_over_the_variance_is_the_matrix_that_smooths_the_targets)),
    ("H5 gradient of the wrong sign", function("log_precision_gradient", gradients, lambda g, *_: -g), (on(direct_law),)),
    ("H5 gradient in λ, not in log λ", function(
        "log_precision_gradient", gradients, lambda g, posterior: g / posterior.process.gaussian.precision.diagonal()),
     (on(direct_law),)),
    ("H6 the mode held still", function("laplace_log_precision_gradient", gradients, direct_alone),
     (call(gradient_law, "categorical"), call(gradient_law, "poisson"),
      laws.test_the_gradient_of_a_prior_with_full_precision_adds_up_to_that_of_a_common_factor)),
    ("H6 the movement of the mode doubled", function(
        "laplace_log_precision_gradient", gradients, lambda g, found, *args: 2 * g - direct_alone(g, found, *args)),
     (call(gradient_law, "bernoulli"),)),
    ("H2 noise gradient without γ", function(
        "log_variance_gradient", gradients, lambda g, posterior, *_: g - 0.5 * posterior.effective_parameters()), (noise_law,)),
    ("G22 the term that couples the classes dropped", function(
        "log_det_one_plus_kernel_curvature", multiclass, without_class_coupling),
     (draws(determinant_law, 3, 4, 0),
      laws.test_the_determinant_class_by_class_is_that_of_the_posterior_of_a_linear_softmax_network)),
    ("G22 that term halved", function("log_det_one_plus_kernel_curvature", multiclass, lambda value, kernels, p: 0.5 * (
        value + without_class_coupling(value, kernels, p))), (draws(determinant_law, 3, 4, 0),)),
]
PAIRS = [pytest.param(plant, one, id=f"{words} [{i}]") for words, plant, laws_of_it in ROWS for i, one in enumerate(laws_of_it)]


@pytest.mark.parametrize("plant, law_of_it", PAIRS)
def test_a_planted_fault_breaks_its_law(plant, law_of_it, monkeypatch):
    law_of_it()
    plant(monkeypatch)
    with np.errstate(all="ignore"), pytest.raises((AssertionError, pytest.fail.Exception, optimize.NotAMode)):
        law_of_it()
