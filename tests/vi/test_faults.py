"""Every law of variational inference fails on the fault that it is there to detect."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from refbnn import Gaussian, Mlp, Posterior, kronecker, quadrature, vi
from refbnn.linalg import NotPositiveDefinite
from refbnn.precision import Dense
from refbnn.quadrature import Integral
from refbnn.vi import bfgs, bounds, diagnosis, estimators, expectations, families, natural, opper_archambeau, optimum
from refbnn.vi.families import full, independent, low_rank, matrix_normal
from refbnn.vi.objective import Elbo
from tests import test_quadrature
from tests.test_rejects_faults import after, call, instead
from tests.vi import problems, test_bound, test_certified_bound, test_diagnosis, test_estimators, test_families, test_solvers

below = call(test_bound.test_the_evidence_exceeds_the_bound_by_the_divergence_to_the_posterior, "network")
above = call(test_bound.test_the_upper_bound_exceeds_the_evidence_by_the_divergence_from_the_posterior, "logistic")
definition = test_bound.test_the_bound_is_the_mean_of_the_log_weights
tight = test_bound.test_all_bounds_are_the_evidence_where_q_is_the_posterior
cross_entropy = test_bound.test_the_expected_gaussian_prior_is_the_cross_entropy
weighted = test_bound.test_importance_weighting_starts_at_the_bound_and_stays_below_the_evidence
bonnet = call(test_bound.test_the_derivative_in_the_mean_is_the_expected_gradient, "network")
price = call(test_bound.test_the_derivative_in_the_covariance_is_half_the_expected_hessian, "network")
stein = call(test_bound.test_stein_turns_gradients_times_normals_into_hessians, "network")
scale_law = call(test_bound.test_the_gradient_in_the_scale_is_that_of_the_sum_itself, "network")
split = test_bound.test_the_expected_hessian_splits_into_gauss_newton_and_residual_part
outputs_law = test_bound.test_over_outputs_and_over_parameters_agree
closed_law = call(test_bound.test_the_closed_form_is_the_sum_over_outputs_for_quadratic_losses, test_bound.QUADRATIC["full"])
classes_law = test_bound.test_several_classes_are_summed_over_their_outputs
three_solvers = test_solvers.test_three_solvers_and_two_ways_to_integrate_find_one_optimum
one_step = test_solvers.test_one_step_on_a_quadratic_energy_ends_at_the_posterior_from_anywhere
two_orders = call(test_solvers.test_first_and_second_derivatives_find_one_optimum_of_a_network, families.Full(2))
honest = test_solvers.test_a_solver_that_does_not_converge_says_so
elsewhere = test_solvers.test_the_gauss_newton_rule_ends_elsewhere_and_says_so
unbiased = test_estimators.test_the_expectation_of_an_estimator_is_the_gradient_of_the_bound
batch_law = test_estimators.test_the_mean_over_mini_batches_is_the_whole
local_law = test_estimators.test_local_reparametrisation_has_the_gradient_of_the_bound_as_its_mean
units_law = test_diagnosis.test_units_are_the_marginals_of_their_weights
many_outputs = test_diagnosis.test_outgoing_weights_of_a_unit_are_averaged_over_the_outputs
residuals = test_solvers.test_residuals_are_in_standard_deviations_of_q
rule_law = test_solvers.test_the_error_of_the_rule_is_in_standard_deviations_of_q
judged = test_solvers.test_solvers_judge_the_mean_and_the_tolerance_as_asked
first = test_solvers.test_those_that_converged_come_first_whatever_their_bound
prior_too = test_solvers.test_errors_and_curvatures_hold_the_prior_too
saddle = test_solvers.test_a_saddle_is_not_taken_for_a_maximum
two_routes = test_solvers.test_over_outputs_the_two_residuals_are_two_routes
blind_bfgs = test_solvers.test_quasi_newton_is_judged_by_mean_and_by_spread
turns = test_solvers.test_the_residual_of_the_fixed_point_is_that_over_weights
maxima = test_solvers.test_maxima_come_before_saddles_where_nothing_converged
trial = test_solvers.test_a_trial_step_without_a_finite_bound_is_taken_back
round_off = test_solvers.test_bfgs_goes_on_where_the_round_off_of_the_bound_hides_its_gain
largest = test_solvers.test_the_residual_of_bfgs_is_the_largest_of_three
fewer_laws = test_solvers.test_the_laws_of_low_rank_are_fewer_than_its_numbers_and_the_slope_is_asked_too
kinks = call(test_solvers.test_a_law_that_misses_the_kinks_is_no_optimum, 48)
a_kink = call(test_bound.test_the_error_of_the_hessian_covers_a_kink, 0.3, 0.4, 20)
between = call(test_bound.test_the_error_of_the_hessian_covers_what_lies_between_the_points, 20)
cancelled = test_bound.test_the_closed_form_knows_what_cancels_between_predictions_and_targets
gaussian_bend = test_solvers.test_the_curvature_of_a_gaussian_posterior_is_known
certified_slope = call(test_certified_bound.test_the_pathwise_estimator_is_the_certified_slope_of_the_sampled_bound,
                       test_certified_bound.BOUNDED[0])
reached = test_solvers.test_low_rank_reaches_its_optimum_on_every_regression
certified_optimum = call(test_certified_bound.test_the_fixed_point_is_the_certified_optimum, "optimum-logistic")
mixed = call(test_diagnosis.test_every_linear_symmetry_has_its_law_at_the_optimum_over_all_gaussians, 1, 0)
chain_rule = test_families.test_the_divergence_obeys_the_chain_rule_and_pinsker
metric_law = test_families.test_the_divergence_of_neighbours_is_half_the_fisher_form
mixed_units = call(test_solvers.test_verdict_and_residuals_do_not_depend_on_the_units_of_theta, families.MeanField(2), True,
                   (1e6, 1e-5))
told_apart = test_solvers.test_a_saddle_is_told_from_a_maximum_next_to_where_it_becomes_one
of_the_sum = call(test_solvers.test_over_outputs_the_gradient_is_that_of_the_sum, 3)
conserved = call(test_diagnosis.test_the_conservation_law_holds_at_the_optimum_and_not_before, "mean_field")
sparse = call(test_quadrature.test_a_sparse_rule_is_exact_to_total_degree_twice_its_level_less_one, 3, 5)


def entry(name):
    """The law of every entry of a family's gradient."""
    return call(test_families.test_every_entry_of_the_gradient_is_right, name)


def virial(name):
    """The virial law at the optimum of a family."""
    return call(test_solvers.test_the_virial_law_holds_at_the_optimum_of_every_family, name)


def rough(name):
    """The law of the errors of a rough rule."""
    return call(test_bound.test_a_rough_rule_says_by_how_much_it_misses, *test_bound.ROUGH[name])


def equations(name):
    """The law that `along` has the equations that the gradient has."""
    return call(test_families.test_along_sees_what_the_gradient_sees, name)


def flat(tolerance):
    """The law of numbers that leave q alone."""
    return call(test_solvers.test_numbers_that_leave_q_as_it_is_are_no_saddle, tolerance)


def lengths_law(name):
    """The law of steps in lengths."""
    return call(test_families.test_steps_in_lengths_do_not_depend_on_the_units_of_theta, name)


def distance(name):
    """The law of the distance of the mean."""
    return call(test_solvers.test_the_distance_of_the_mean_is_what_it_was_moved_by, name)


def of_families(name, change):
    """Plant: a method of every family."""
    def plant(patch):
        for family in (families.Full, families.MeanField, families.LowRank, families.MatrixNormal):
            true = getattr(family, name)
            given = {"true": true} if change.__code__.co_argcount == 3 else {}
            patch.setattr(family, name, lambda self, phi, given=given: change(self, phi, **given))

    return plant


def bend(change):
    """Plant: the second derivatives of the bound go through change(found)."""
    return after(optimum, "_bend", lambda found, *_: change(found))


def bend_without_slope(self):
    """Largest curvature and error of the differences alone."""
    lengths = self.family.lengths(self.phi)

    def slope(x):
        phi = self.phi + lengths * x
        at = vi.elbo(self.elbo.posterior, self.family.gaussian(phi), self.elbo.how)
        return lengths * vi.gradient(self.family, phi, at)

    h = optimum.DIFFERENCE
    return optimum._bend(lambda v: (slope(h * v) - slope(-h * v)) / (2 * h), np.eye(len(self.phi)))


def uncaught(posterior, family, how, phi):
    """The bound wherever BFGS looks, finite or not."""
    at = vi.elbo(posterior, family.gaussian(phi), how)
    return -at.value, -vi.gradient(family, phi, at)


def value(of):
    """Plant: another property of Elbo.value."""
    return instead(Elbo, "value", property(of))


def exported(name, owner, change):
    """Plant: a function of a module of vi, and the name that vi exports, go through change(result, *arguments)."""
    def plant(patch):
        for module in (owner, *([vi] if hasattr(vi, name) else [])):
            after(module, name, change)(patch)

    return plant


def prior_part(**changes):
    """Plant: the expected Gaussian prior with other entries, functions of (found, prior, q)."""
    return after(expectations, "gaussian_prior", lambda found, prior, q: replace(
        found, **{name: change(found, prior, q) for name, change in changes.items()}))


def outputs(**changes):
    """Plant: other expectations over outputs, functions of (found, loss, mean, covariance)."""
    return after(expectations.OverOutputs, "of_outputs", lambda found, self, loss, mean, covariance: replace(
        found, **{name: change(loss, mean, covariance) for name, change in changes.items()}))


def step(precision, mean):
    """Plant: another natural step, from functions of (at, matrix, step) and (at, precision, step)."""
    def faulty(family, at, matrix, length):
        new = family.natural(precision(at, matrix, length))
        return Gaussian(mean(at, new, length), new)

    return instead(natural, "_moved", faulty)


def blend(at, matrix, length):
    """The right precision."""
    return (1 - length) * at.q.precision.matrix() + length * matrix


def newton(at, precision, length):
    """The right mean."""
    return at.q.mean - length * precision.solve(at.energy_gradient)


def unscaled_diagonal(L, gradient):
    """The gradient in L_ii for that in log L_ii."""
    return np.asarray(gradient)[np.tril_indices(len(gradient))]


def shared_noise(found, posterior, q, noise, true=estimators.local_reparametrisation):
    """One ε for all data."""
    return true(posterior, q, np.repeat(noise[:, :1], noise.shape[1], axis=1))


def wrong_temperature(posterior, batch):
    """B/N where N/B belongs."""
    part = Posterior(posterior.net, posterior.likelihood, posterior.prior, posterior.loss.X[batch], posterior.loss.y[batch])
    return part.tempered(len(batch) / len(posterior.X))


def of_estimator(name, change):
    """Plant: an estimator goes through change(result, posterior, q, z), in the table of the tests too."""
    def plant(patch):
        after(estimators, name, change)(patch)
        keys = {"sticking_the_landing": "stl"}
        patch.setitem(test_estimators.ESTIMATORS, keys.get(name, name), getattr(estimators, name))

    return plant


ROWS = [
    ("entropy without ½ p", after(Gaussian, "entropy", lambda e, q: e - 0.5 * q.num_params), (below, definition, tight)),
    ("entropy of the wrong sign", value(lambda at: -at.q.entropy() - at.loss.value - at.prior.value), (below, tight)),
    ("prior dropped", value(lambda at: at.q.entropy() - at.loss.value), (below, definition)),
    ("the mean of the loss over data", value(
        lambda at: at.q.entropy() - at.loss.value / len(at.posterior.X) - at.prior.value), (below, definition)),
    ("prior at the mean", prior_part(value=lambda found, prior, q: -float(prior.log_prob(q.mean))), (cross_entropy, below)),
    ("prior's gradient of the wrong sign", prior_part(gradient=lambda found, prior, q: -found.gradient), (cross_entropy, bonnet)),
    ("prior's cross with the inverse scale", prior_part(
        cross=lambda found, prior, q: prior.precision.matrix() @ np.linalg.inv(q.scale()).T), (cross_entropy, scale_law)),
    ("scale gradient without the entropy", instead(Elbo, "scale_gradient", property(lambda at: -at.energy_cross)),
     (scale_law, call(test_families.test_the_gradient_by_hand_is_that_of_the_bound, "full"))),
    ("C⁻¹ for C⁻ᵀ", instead(Elbo, "scale_gradient", property(
        lambda at: np.linalg.inv(at.q.scale()) - at.energy_cross)), (scale_law,)),
    ("z ∇hᵀ for ∇h zᵀ", instead(expectations.LossOverParameters, "cross", property(
        lambda self, true=expectations._OverParameters.cross: true.fget(self).T)), (stein, scale_law)),
    ("second derivatives without their residual part", instead(
        expectations.LossOverParameters, "hessian", property(lambda self: self.ggn)), (split, price, stein, two_orders)),
    ("Price without ½", instead(Elbo, "energy_hessian", property(
        lambda at: 2 * (at.loss.hessian + at.prior.hessian))), (price, stein)),
    ("second derivatives without the prior", instead(Elbo, "energy_hessian", property(lambda at: at.loss.hessian)),
     (price, stein, one_step)),
    ("E Λ at the mean", outputs(curvature=lambda loss, mean, covariance: loss.likelihood.curvature(mean, loss.y)),
     (outputs_law, classes_law)),
    ("E r at the mean", outputs(residual=lambda loss, mean, covariance: loss.likelihood.residual(mean, loss.y)), (outputs_law,)),
    ("variance for standard deviation of outputs", instead(expectations.linalg, "symmetric_root", lambda name, M: M),
     (outputs_law, classes_law)),
    ("closed form without its trace", after(expectations.ClosedForm, "of_outputs", lambda found, self, loss, mean, _: replace(
        found, value=-float(loss.likelihood.log_prob(mean, loss.y).sum()))), (closed_law, tight)),
    ("IWAE without log k", exported("iwae", bounds, lambda found, posterior, q, normals: Integral(
        found.value + np.log(normals.shape[1]), found.error)), (weighted,)),
    ("IWAE that averages logarithms", exported("iwae", bounds, lambda found, posterior, q, normals: Integral(
        float(bounds.log_weights(posterior, q, normals).mean()), found.error)),
     (weighted, call(test_bound.test_importance_weighting_raises_the_bound_draw_by_draw, 2))),
    ("weights without q", exported("log_weights", bounds, lambda w, posterior, q, z: posterior.log_prob(q.from_normals(z))),
     (weighted,)),
    ("EUBO under q", exported("eubo", bounds, lambda found, posterior, q, expect: Integral(
        vi.elbo(posterior, q, test_bound.WIDE).value, 0.0)), (above,)),
    ("log diagonal without L_ii", instead(full, "lower_gradient", unscaled_diagonal), (entry("full"), entry("per_layer"))),
    ("upper triangle for lower", instead(full, "lower_gradient", lambda L, G, true=full.lower_gradient: true(L, G.T)),
     (entry("full"),)),
    ("variance for standard deviation", instead(families.MeanField, "pull_back", lambda self, phi, m, S: np.concatenate(
        [m, np.exp(2 * phi[self.num_params:]) * np.diagonal(S)])), (entry("mean_field"),)),
    ("mean field projected on marginal variances", instead(families.MeanField, "free", lambda self, q: np.concatenate(
        [q.mean, 0.5 * np.log(np.diagonal(q.covariance()))])),
     (call(test_families.test_free_is_the_projection_that_minimises_the_reverse_divergence, "mean_field"),)),
    ("blocks of the covariance for those of the precision", instead(
        independent, "Dense", lambda matrix: Dense(np.diag(np.diagonal(matrix)))),
     (call(test_families.test_free_is_the_projection_that_minimises_the_reverse_divergence, "per_layer"),)),
    ("Kronecker factors exchanged in the gradient", instead(
        matrix_normal, "lower_gradient", lambda L, G, true=matrix_normal.lower_gradient: true(L, G.T)), (entry("kronecker"),)),
    ("bias among the weights", instead(kronecker.BlockShape, "flat", lambda self, V: V.reshape(*V.shape[:-2], -1)),
     (test_families.test_the_covariance_of_a_matrix_normal_is_a_kronecker_product_in_the_order_of_theta,)),
    ("column-major Kronecker order", after(kronecker.MatrixNormal, "scale_matvec", lambda found, self, z: kronecker.BlockShape(
        len(self.B), len(self.A), self.bias).flat(self.A @ np.reshape(z, (-1, len(self.A), len(self.B))) @ self.B.T).reshape(
            np.shape(z)) if len(self.A) == len(self.B) else 2 * found),
     (test_families.test_the_covariance_of_a_matrix_normal_is_a_kronecker_product_in_the_order_of_theta,)),
    ("half of dA in the low-rank family", instead(low_rank.LowRank, "pull_back", lambda self, phi, m, S,
     true=low_rank.LowRank.pull_back: true(self, phi, m, S) * np.repeat([1, 1, 0.5], [self.num_params, self.num_params,
                                                                                      self.num_params * self.rank])),
     (entry("low_rank"), call(test_families.test_the_gradient_by_hand_is_that_of_the_bound, "low_rank"))),
    ("1/d for d", instead(low_rank.LowRank, "gaussian", lambda self, phi, true=low_rank.LowRank.gaussian: true(
        self, np.concatenate([phi[:self.num_params], 1 / phi[self.num_params:2 * self.num_params], phi[2 * self.num_params:]]))),
     (entry("low_rank"), test_families.test_low_rank_plus_diagonal_is_a_precision)),
    ("natural step with the old precision", step(blend, lambda at, new, rho: newton(at, at.q.precision, rho)), (one_step,)),
    ("natural step uphill in U", step(blend, lambda at, new, rho: at.q.mean + rho * new.solve(at.energy_gradient)),
     (one_step,)),
    ("natural step without the prior", step(lambda at, matrix, rho: blend(at, at.loss.hessian + 1e-3 * np.eye(len(matrix)), rho),
                                            newton), (one_step,)),
    ("natural step by half of E ∇²U", step(lambda at, matrix, rho: blend(at, 0.5 * matrix, rho), newton), (one_step,)),
    ("errors of E ∇U forgotten", instead(Elbo, "gradient_error", property(lambda at: 0 * at.prior.gradient)), (prior_too,)),
    ("errors of the rule forgotten", after(optimum, "rule_error", lambda found, *_: 0 * found), (call(
        test_solvers.test_two_rules_find_one_optimum_to_the_digits_that_they_support, quadrature.gauss_hermite(2, 12)),)),
    ("the GGN in the place of the Hessian", instead(natural, "precision_residual", lambda family, at, matrix: (
        optimum.precision_residual(family, at, at.energy_hessian))), (elsewhere,)),
    ("Laplace in the place of the fixed point", outputs(
        residual=lambda loss, mean, covariance: loss.likelihood.residual(mean, loss.y),
        curvature=lambda loss, mean, covariance: loss.likelihood.curvature(mean, loss.y)), (three_solvers,)),
    ("α = −E r", instead(opper_archambeau._Sites, "mean", property(
        lambda self: self.f + (self.K @ self.alpha.ravel()).reshape(self.f.shape))), (three_solvers, certified_optimum)),
    ("entropy gradient of the wrong sign", instead(Elbo, "scale_gradient", property(
        lambda at: -np.linalg.inv(at.q.scale()).T - at.energy_cross)), (virial("mean_field"), conserved)),
    ("virial law with Σ for C", exported("virial_residual", optimum, lambda found, family, at: optimum._residual(
        family, at, at.energy_cross @ at.q.covariance())), (three_solvers,)),
    ("sticking the landing with the wrong term held", of_estimator(
        "sticking_the_landing", lambda g, posterior, q, z: estimators.Gradients(
            g.mean + 2 * q.gradient(q.from_normals(z)), g.scale)),
     (test_estimators.test_the_landing_sticks_where_q_is_the_posterior, call(
         test_estimators.test_the_landing_sticks_where_q_is_the_posterior))),
    ("pathwise without the entropy", of_estimator("pathwise", lambda g, posterior, q, z: estimators.Gradients(
        g.mean, g.scale - np.linalg.inv(q.scale()).T)), (call(unbiased, "pathwise"), certified_slope)),
    ("score without log q", of_estimator("score", lambda g, posterior, q, z: estimators.Gradients(
        g.mean, g.scale + q.log_prob(q.from_normals(z))[:, None, None] * (np.linalg.inv(q.scale()).T @ (
            z[:, :, None] * z[:, None] - np.eye(z.shape[1]))))), (call(unbiased, "score"),)),
    ("one ε for all data", after(estimators, "local_reparametrisation", shared_noise),
     (test_estimators.test_independent_data_noise_averages_out_where_shared_weights_do_not,)),
    ("local reparametrisation without the prior", after(estimators, "local_reparametrisation", lambda g, posterior, q, noise: (
        estimators.Gradients(g.mean - posterior.prior.gradient(q.mean), g.scale))), (local_law,)),
    ("N/B upside down", instead(estimators, "mini_batch", wrong_temperature), (batch_law,)),
    ("the prior in every batch N/B times", after(estimators, "mini_batch", lambda part, posterior, batch: Posterior(
        part.net, part.likelihood, Gaussian(part.prior.mean, Dense(
            part.prior.precision.matrix() * len(posterior.X) / len(batch))), part.X, part.y)), (batch_law,)),
    ("the gap without ½", exported("mean_field_gap", diagnosis, lambda gap, *_: 2 * gap),
     (test_diagnosis.test_mean_field_takes_the_diagonal_of_the_precision_and_pays_the_gap,
      test_diagnosis.test_the_other_divergence_wants_the_true_variances)),
    ("incoming for outgoing weights", exported("units", diagnosis, lambda found, *_: vi.Units(
        found.kl_out, found.kl_in, found.outgoing)), (units_law,)),
    ("units with the conditional in place of the marginal", instead(diagnosis, "_marginal", lambda q, rows: Gaussian(
        q.mean[rows], Dense(q.precision.matrix()[np.ix_(rows, rows)]))), (units_law,)),
    ("conservation without tr X", exported("conservation", diagnosis, lambda found, q, prior, X: found + np.trace(X)),
     (conserved, test_diagnosis.test_the_conservation_law_by_a_plain_sum)),
    ("conservation at the mean alone", exported("conservation", diagnosis, lambda found, q, prior, X: float(
        (q.mean - prior.mean) @ prior.precision.matvec(X @ q.mean) - np.trace(X))),
     (conserved, mixed, test_diagnosis.test_the_conservation_law_by_a_plain_sum)),
    ("the bias left out of a unit's scale", exported("rescaling", diagnosis, lambda X, net, layer, unit: np.diag(
        [0 if i in (2, 3) else x for i, x in enumerate(np.diagonal(X))])),
     (conserved, test_diagnosis.test_rescaling_leaves_a_rectified_network_alone)),
    ("mean residual without C", instead(optimum, "mean_residual", lambda at: float(np.linalg.norm(at.energy_gradient))),
     (residuals,)),
    ("residuals in the units of the parameters", instead(optimum, "_residual", lambda family, at, law: float(
        np.linalg.norm(family.along(law - np.eye(len(law)))))), (residuals,)),
    ("precision residual transposed", instead(optimum, "precision_residual", lambda family, at, H: optimum._residual(
        family, at, at.q.precision.solve(H).T)), (residuals,)),
    ("the diagonal of the full family's laws", instead(full.Full, "along", lambda self, law: np.diagonal(law)), (residuals,)),
    ("a tenth of the rule's error", after(optimum, "rule_error", lambda found, *_: 0.1 * found), (rule_law,)),
    ("a hundred times the tolerance", instead(optimum.Optimum, "converged", property(
        lambda self: self.residual <= 100 * self.tolerance and self.is_maximum)), (judged,)),
    ("BFGS judged without the mean", instead(bfgs, "mean_residual", lambda at: 0.0), (largest,)),
    ("BFGS judged by the mean alone", instead(bfgs, "virial_residual", lambda family, at: 0.0), (largest,)),
    ("BFGS judged without the slope", instead(bfgs, "residual_of", lambda family, phi, at: max(
        optimum.mean_residual(at), optimum.virial_residual(family, at))), (blind_bfgs, largest, fewer_laws)),
    ("the natural gradient judged without the mean", instead(natural, "mean_residual", lambda at: 0.0), (judged,)),
    ("the natural gradient judged without the spread", instead(natural, "precision_residual", lambda family, at, matrix: 0.0),
     (test_solvers.test_the_natural_gradient_is_judged_by_its_spread_too,)),
    ("the virial law not asked", instead(optimum.Optimum, "laws_agree", True), (kinks,)),
    ("the error of E ∇²U that its own points see", instead(Elbo, "hessian_error", property(lambda at: at.summation_error)),
     (kinks, a_kink, between)),
    ("no error of a closed form's E r", after(expectations.ClosedForm, "of_outputs", lambda found, *_: replace(
        found, residual_error=0 * found.residual_error)), (cancelled,)),
    ("a closed form's error of E r by its size", after(expectations.ClosedForm, "of_outputs", lambda found, *_: replace(
        found, residual_error=expectations.ROUND_OFF * np.abs(found.residual))), (cancelled,)),
    ("no error of a closed form's bound", after(expectations.ClosedForm, "of_outputs", lambda found, *_: replace(
        found, error=0.0)), (cancelled,)),
    ("several starts by their bound alone", instead(vi, "multi_start", lambda solve, starts: tuple(
        sorted(map(solve, starts), key=lambda one: -one.elbo.value))), (first,)),
    ("a saddle taken for a maximum", instead(optimum.Optimum, "is_maximum", True), (saddle,)),
    ("the prior's error of the bound dropped", instead(Elbo, "error", property(lambda at: at.loss.error)), (prior_too,)),
    ("no error of E ∇²U", instead(Elbo, "summation_error", property(lambda at: 0 * at.loss.hessian)),
     (prior_too, rough("over outputs"))),
    ("no error of E Λ", outputs(curvature_error=lambda loss, mean, covariance: np.zeros(covariance.shape)),
     (rough("over outputs"),)),
    ("no error of E r", outputs(residual_error=lambda loss, mean, covariance: np.zeros(mean.shape)), (rough("over outputs"),)),
    ("no error of E ℓ", outputs(error=lambda loss, mean, covariance: 0.0), (rough("over outputs"),)),
    ("no error of E H over outputs", instead(expectations.LossOverOutputs, "hessian_error", property(
        lambda self: 0 * self.hessian)), (rough("over outputs"),)),
    ("no error of E H over parameters", instead(expectations.LossOverParameters, "hessian_error", property(
        lambda self: 0 * self.hessian)), (rough("over parameters"),)),
    ("no error of the gradient over parameters", instead(expectations._OverParameters, "gradient_error", property(
        lambda self: 0 * self.gradient)), (rough("over parameters"), rough("a prior that is summed"), prior_too)),
    ("no error of a summed prior's second derivatives", instead(expectations.PriorOverParameters, "hessian_error", property(
        lambda self: 0 * self.hessian)), (prior_too,)),
    ("half of the fixed point's residual: the spread", instead(opper_archambeau._Sites, "residual", lambda self, expected: float(
        np.sqrt((expected.residual - self.alpha).ravel() @ self.joint_covariance @ (expected.residual - self.alpha).ravel()))),
     (turns,)),
    ("half of the fixed point's residual: the mean", instead(
        opper_archambeau._Sites, "residual", lambda self, expected, true=opper_archambeau._Sites.residual: true(
            replace(self, alpha=expected.residual), expected)), (turns,)),
    ("the first block's laws alone", instead(independent.Independent, "along", lambda self, law: self.parts[0].along(
        law[:self.parts[0].num_params, :self.parts[0].num_params])), (equations("per_layer"), equations("kronecker"))),
    ("the first factor's laws alone", instead(matrix_normal.MatrixNormal, "along", lambda self, law: matrix_normal.lower_part(
        self._partial_traces(law)[0])), (equations("kronecker"),)),
    ("several starts without their saddles", instead(vi, "multi_start", lambda solve, starts: tuple(sorted(
        map(solve, starts), key=lambda one: (not one.converged, -one.elbo.value)))), (maxima,)),
    ("the first activation for all layers", instead(vi, "rescaling", lambda net, layer, unit, true=vi.rescaling: true(
        replace(net, activation=net.activation[:1] * len(net.activation)), layer, unit)),
     (test_diagnosis.test_only_rectified_layers_of_a_network_rescale,)),
    ("a bad trial step raises", instead(bfgs, "_value_and_gradient", uncaught), (trial,)),
    ("no polish", instead(bfgs, "_polished", lambda loss, x, *_: (x, 0)), (round_off,)),
    ("polish against the gradient's fall", instead(bfgs, "_updated", lambda inverse, step, change: -inverse), (round_off,)),
    ("φ in its own units", of_families("lengths", lambda self, phi: np.ones(self.num_free)),
     (mixed_units, lengths_law("full"), lengths_law("kronecker"))),
    ("the scale's units for the mean's inverse", of_families("lengths", lambda self, phi, true: 1 / true(self, phi)),
     (lengths_law("full"), lengths_law("mean_field"), lengths_law("per_layer"), lengths_law("low_rank"))),
    ("no error of the differences", bend(lambda found: replace(found, error=0.0)), (gaussian_bend,)),
    ("a curvature of 10⁻⁶ taken for none", bend(lambda found: replace(found, error=found.error + 1e-6)),
     (call(told_apart, 1.7517425, False), gaussian_bend)),
    ("differences without their slope", instead(optimum.Optimum, "_bend", property(bend_without_slope)),
     (flat(1e-2), flat(1e-5))),
    ("the largest curvature with the wrong sign", bend(lambda found: replace(found, largest=-found.largest)),
     (gaussian_bend, saddle)),
    ("slope for distance", instead(optimum.Optimum, "mean_distance", property(lambda self: self.mean_residual)),
     (distance("mean_field"), distance("low_rank"))),
    ("Newton's step in the units of θ", after(optimum, "_newton", lambda found, at: at.q.scale() @ found),
     (distance("full"), rule_law)),
    ("the rule's error as a slope", instead(optimum, "_newton", lambda at: at.q.scale().T),
     (rule_law, distance("mean_field"))),
    ("log d in the low-rank family", after(low_rank.LowRank, "pull_back", lambda found, self, phi, m, S: found * np.repeat(
        [1, 2, 1], [self.num_params, self.num_params, self.num_params * self.rank])), (entry("low_rank"), reached)),
    ("the divergence shifted", after(test_families, "kl", lambda found, *_: found + 0.01), (chain_rule, metric_law)),
    ("the divergence doubled", after(test_families, "kl", lambda found, *_: 2 * found), (metric_law,)),
    ("no ½ p in the entropy of a member", after(Gaussian, "entropy", lambda e, q: e - 0.5 * q.num_params),
     (call(test_families.test_entropy_and_divergence_are_those_of_the_gaussian, "kronecker"),)),
    ("draws a hundredth too far from the mean", after(Gaussian, "from_normals", lambda theta, q, z: theta + 0.01 * (
        theta - q.mean)), (test_bound.test_the_delta_method_is_of_fourth_order,)),
    ("twice E ∇²U beside values", instead(Elbo, "energy_hessian", property(lambda at: 2 * (at.loss.hessian + at.prior.hessian))),
     (test_bound.test_stein_of_second_order_turns_values_into_hessians,)),
    ("E Λ at the mean of the fixed point", outputs(
        curvature=lambda loss, mean, covariance: loss.likelihood.curvature(mean, loss.y)),
     (test_solvers.test_the_fixed_point_has_one_curvature_a_datum,)),
    ("a precision that is not the sites'", after(opper_archambeau, "_over_weights", lambda q, *_: Gaussian(
        q.mean, Dense(q.precision.matrix() + np.eye(q.num_params)))),
     (test_solvers.test_the_divergence_over_weights_is_that_over_functions_at_the_fixed_point,)),
    ("Λ of a closed form a hundredth too large", after(expectations.ClosedForm, "of_outputs", lambda found, *_: replace(
        found, curvature=1.01 * found.curvature)),
     (test_solvers.test_vi_on_the_linearised_network_is_gauss_newton_laplace_for_gaussian_noise,)),
    ("a residual part in the tangent", instead(
        expectations.LossOverParameters, "ggn", property(lambda self: 0.99 * self.hessian)),
     (test_solvers.test_the_linearised_network_has_no_expected_residual_part,)),
    ("constants in some bounds only", after(vi, "elbo", lambda at, *_: SimpleNamespace(value=at.value + 5.0)),
     (test_solvers.test_the_optimum_beats_laplace_and_the_smaller_family,)),
    ("an entropy that is convex in C", value(lambda at: -at.q.entropy() - at.loss.value - at.prior.value),
     (call(test_solvers.test_the_bound_of_a_linear_model_is_concave_in_mean_and_cholesky_factor, "bernoulli"),
      test_bound.test_without_data_the_prior_is_optimal_and_the_bound_zero)),
    ("half of Σ in E ‖θ‖²", after(Gaussian, "covariance", lambda C, q: 0.5 * C),
     (test_solvers.test_the_bound_at_its_optimum_moves_with_the_prior_as_if_q_stood_still,)),
    ("the temperature upside down", instead(
        Posterior, "tempered", lambda self, beta, true=Posterior.tempered: true(self, 1 / beta)),
     (test_solvers.test_data_counted_twice_are_data_at_half_the_temperature,)),
    ("half of the bend of f", after(Mlp, "contracted_hessian", lambda H, *_: 0.5 * H),
     (test_solvers.test_the_mean_prediction_of_the_best_gaussian_is_that_of_its_second_order_expansion_as_data_repeat,)),
    ("N/B left out", instead(estimators, "mini_batch", lambda posterior, batch: Posterior(
        posterior.net, posterior.likelihood, posterior.prior, posterior.loss.X[batch], posterior.loss.y[batch])), (batch_law,)),
    ("a tenth of a nat left out of log p(y, θ)", after(Posterior, "log_prob", lambda found, *_: found - 0.1),
     (call(test_certified_bound.test_the_certified_evidence_exceeds_the_certified_bound_by_the_divergence,
           "posterior-linear-poisson"),)),
    ("the prior's error dropped", instead(Elbo, "gradient_error", property(lambda at: at.loss.gradient_error)), (prior_too,)),
    ("E G without the prior", instead(Elbo, "energy_ggn", property(lambda at: at.loss.ggn)), (prior_too,)),
    ("IWAE with a hundredth of its spread as error", exported("iwae", bounds, lambda found, posterior, q, normals: Integral(
        found.value, 0.01 * found.error * np.sqrt(len(normals)))), (weighted,)),
    ("outgoing weights summed", exported("units", diagnosis, lambda found, net, *_: vi.Units(
        found.kl_in, found.kl_out, np.sqrt(net.sizes[-1]) * found.outgoing)), (many_outputs,)),
    ("Price's form for the derivative of the sum", instead(expectations.LossOverOutputs, "cross", property(
        lambda self: self.hessian @ self.scale)), (two_routes, of_the_sum)),
    ("half of Γ", after(expectations, "_by_stein", lambda found, *_: 0.5 * found), (outputs_law, of_the_sum)),
    ("signs of the sparse rule", instead(quadrature, "comb", lambda n, k, true=quadrature.comb: (-1) ** k * true(n, k)),
     (sparse, test_quadrature.test_a_sparse_rule_is_the_combination_of_product_rules)),
    ("binomials of d in the sparse rule", instead(quadrature, "comb", lambda n, k, true=quadrature.comb: true(n + 1, k)),
     (sparse, test_quadrature.test_a_sparse_rule_is_the_combination_of_product_rules)),
    ("a sparse rule that compares itself with itself", after(quadrature, "smolyak", lambda rule, *_: quadrature.Rule(
        rule.points, rule.weights, rule.weights[None])),
     (call(test_quadrature.test_the_error_estimate_of_a_sparse_rule_is_an_upper_bound, 4),)),
]
FAILURES = AssertionError, pytest.fail.Exception, NotPositiveDefinite, ValueError
PAIRS = [pytest.param(plant, law, id=f"{words} [{i}]") for words, plant, laws in ROWS for i, law in enumerate(laws)]


@cache
def passes(law):
    """Run a law without any fault, once."""
    law()


@pytest.fixture(autouse=True)
def nothing_kept():
    """Optima that are kept between tests know the code that found them."""
    yield
    problems.optimum.cache_clear()


@pytest.mark.parametrize("plant, law", PAIRS)
def test_a_planted_fault_breaks_its_law(plant, law, monkeypatch):
    passes(law)
    problems.optimum.cache_clear()
    plant(monkeypatch)
    with np.errstate(all="ignore"), pytest.raises(FAILURES):
        law()


def test_convergence_taken_for_granted_is_caught(monkeypatch):
    honest()
    for module in (natural, bfgs, opper_archambeau):
        after(module, "describe", lambda found, *_: replace(found, tolerance=np.inf))(monkeypatch)
    with pytest.raises(AssertionError):
        honest()
