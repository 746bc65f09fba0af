"""The table of laws is true: every test and every planted fault in it exists, and faults planted here break their laws."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from refbnn import Loss, Mlp, blocks, duals, kronecker, laplace, likelihoods, optimize, predict, priors, scores
from refbnn.blocks import Blocks
from refbnn.gaussian import Gaussian
from refbnn.kronecker import KroneckerFactors
from refbnn.linearised import Linearised
from refbnn.networks.mlp import Evaluation
from refbnn.precision import Dense, Diagonal
from refbnn.predict import Moments, bridge, classes, targets

from refbnn.networks.pullback import Pullback
from refbnn.subnetwork import Subnetwork
from tests import ledger, test_curvature, test_gp, test_kronecker, test_laplace, test_laws, test_lemmas, test_likelihoods
from tests import test_linearised, test_mlp, test_predict_classes, test_predict_prior, test_predict_targets
from tests import test_scores, test_subnetwork
from tests.likelihoods import test_special_cases
from tests.test_rejects_faults import DEEP, DEEP_LINEAR, LINEAR, ROW, TANH, after, bent, call, draws, instead, on, scaled
from tests.zoo import Spec

ROWS = [row for rows in ledger.BLOCKS.values() for row in rows]


def module_of(reference):
    """The module of "file::..."."""
    return importlib.import_module("tests." + reference.split("::")[0].replace("/", "."))


def planted(function):
    """The ids of a test's parametrised rows, without the number that some have behind them."""
    ids = set()
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "parametrize":
            ids |= {str(name) for name in mark.kwargs.get("ids") or [getattr(value, "id", value) for value in mark.args[1]]}
    return ids | {name.rsplit(" [", 1)[0] for name in ids}


def faults(row):
    """What is untrue in a row."""
    words, test, fault = row
    found = [] if callable(getattr(module_of(test), test.split("::")[1], None)) else [f"{words}: no {test}"]
    if fault.startswith("here: "):
        return found + ([] if fault[6:] in PLANTED else [f"{words}: nothing planted here as {fault[6:]}"])
    name, _, rest = fault.split("::")[1].partition("[")
    function = getattr(module_of(fault), name, None)
    if function is None:
        return found + [f"{words}: no {fault}"]
    return found + ([f"{words}: no row {rest[:-1]} of {name}"] if rest and rest[:-1] not in planted(function) else [])


def test_every_test_and_every_fault_of_the_table_exists():
    assert [fault for row in ROWS for fault in faults(row)] == []


def test_the_page_is_written_from_the_table():
    assert ledger.PAGE.read_text(encoding="utf-8") == ledger.page(), "run python -m tests.ledger"


def test_every_law_has_a_name_of_its_own_and_every_fault_planted_here_a_row():
    names = [words for words, _, _ in ROWS]
    assert len(names) == len(set(names)) and len(names) > 150
    assert {fault[6:] for _, _, fault in ROWS if fault.startswith("here: ")} == set(PLANTED)


@pytest.mark.parametrize("row, complaint", [
    (("law", "test_ledger::test_that_is_not_there", "here: no such words"), "no test_ledger::test_that_is_not_there"),
    (("law", "test_ledger::faults", "here: no such words"), "nothing planted here"),
    (("law", "test_ledger::faults", "test_third::test_nothing[x]"), "no test_third::test_nothing"),
    (("law", "test_ledger::faults", f"{ledger.THIRD}[no such fault]"), "no row no such fault"),
])
def test_a_row_that_is_not_true_is_caught(row, complaint):
    assert any(complaint in fault for fault in faults(row))


# -- planted faults of laws that have none elsewhere ------------------------------------------------------------------------


def doubled(approximation):
    """The approximation with B twice as large."""
    def faulty(pullback, split_bias=False):
        return Blocks(tuple(KroneckerFactors(2 * b.B, b.A, b.bias) for b in approximation(pullback, split_bias).blocks))
    return faulty


def ordinal_of_place(residual, lik, f, y):
    """A residual that knows where the cut-points are."""
    return residual + 0.01 * lik.cut_points[0]


def em_weight(self, f, y):
    """The curvature of the majorising parabola."""
    return ((self.degrees_of_freedom + 1) / (self.degrees_of_freedom * self.scale**2 + (y - f) ** 2))[..., None]


def jitter(H, *_):
    """H with a little on its diagonal."""
    return H + 1e-3 * np.eye(len(H))


def lower_triangle(H, *_):
    """A Hessian whose lower triangle is off."""
    return np.where(np.tri(len(H), k=-1) > 0, H + 500.0, H)


def another(module, name, faulty):
    """Plant: another kernel in the place of the test's own, the package having none."""
    return lambda patch: patch.setattr(module, name, faulty)


def of_approximations(name, faulty):
    """Plant: another approximation of class probabilities."""
    return lambda patch: patch.setitem(test_predict_classes.APPROXIMATIONS, name, faulty)


def without_log_det(log_prob, q):
    """log Z with + ½ log |P|."""
    return float(log_prob + 0.5 * q.num_params * np.log(2 * np.pi) + 0.5 * q.precision.log_det())


def without_two_pi(log_prob, q):
    """log Z without the 2π."""
    return float(log_prob - 0.5 * q.precision.log_det())


DEEP_NORMAL = Spec((3, 4, 3, 2), ("tanh", "silu"), "normal", num_data=6, seed=2)
true_layer_blocks, true_kernel = Pullback.layer_blocks, test_predict_prior.arc_sine

PLANTED = {
    "columns of J reversed": (
        after(Mlp, "jacobian", lambda J, *_: J[..., ::-1]),
        call(test_mlp.test_a_new_unit_with_zero_outgoing_weights_changes_nothing_but_its_own_columns, TANH)),
    "columns of J reversed, split unit": (
        after(Mlp, "jacobian", lambda J, *_: J[..., ::-1]),
        call(test_mlp.test_splitting_a_unit_leaves_the_outputs_and_makes_the_two_halves_exchangeable, TANH)),
    "a third derivative with its axes turned": (
        after(likelihoods.Categorical, "third", lambda T, *_: T * (1 + 0.01 * np.arange(T.shape[-1]))),
        draws(test_likelihoods.test_curvature_and_third_are_totally_symmetric, ROW["categorical"])),
    "the precision link without its bend": (
        instead(likelihoods.HeteroscedasticPrecision, "curvature", lambda self, f, y: self.fisher(f)),
        test_special_cases.test_the_precision_link_carries_the_natural_information),
    "the EM weight called curvature": (
        instead(likelihoods.StudentT, "curvature", em_weight),
        test_special_cases.test_student_curvature_is_negative_exactly_beyond_the_root_of_nu_scales),
    "Student-t residual with ν for ν + 1": (
        scaled(likelihoods.StudentT, "residual", 4.3 / 5.3), test_special_cases.test_student_weights_majorise_the_curvature),
    "dispersion information without ρ²": (
        scaled(likelihoods.HeteroscedasticNegativeBinomial, "fisher", 0.3),
        test_special_cases.test_the_dispersion_information_of_counts_is_the_trigamma_sum),
    "ordinal information with squares": (
        scaled(likelihoods.Ordinal, "fisher", 1.01),
        test_special_cases.test_the_information_of_ordinal_data_is_a_third_of_one_minus_the_sum_of_cubes),
    "ordinal that ignores its cut-points' place": (
        after(likelihoods.Ordinal, "residual", ordinal_of_place),
        test_special_cases.test_moving_the_output_and_all_cut_points_changes_nothing),
    "information of the log link": (
        instead(likelihoods.PoissonSquare, "fisher", lambda self, f: (f**2)[..., None]),
        test_special_cases.test_the_square_link_makes_the_poisson_information_four),
    "mean and dispersion correlated": (
        after(likelihoods.HeteroscedasticGamma, "fisher", lambda F, *_: F + 0.1),
        test_special_cases.test_mean_and_dispersion_are_orthogonal),
    "Λ carried as a tensor": (
        instead(likelihoods.PoissonSquare, "curvature", lambda self, f, y: 4 * np.ones((*f.shape, 1))),
        test_special_cases.test_a_change_of_link_transforms_fisher_as_a_tensor_and_curvature_with_a_residual_term),
    "bends of hidden states halved": (
        bent(lambda H, _: 0.5 * H), on(test_mlp.test_the_contracted_hessian_has_its_structure_in_terms_of_hidden_states, DEEP)),
    "bends halved, trace": (
        bent(lambda H, _: 0.5 * H), on(test_mlp.test_the_trace_of_the_contracted_hessian_comes_from_the_bends_alone, DEEP)),
    "jitter in the Hessian": (
        after(Loss, "hessian", jitter), on(test_curvature.test_without_hidden_layer_the_hessian_is_the_ggn, LINEAR)),
    "bound of Weyl exceeded": (
        after(Loss, "hessian", lower_triangle), on(test_curvature.test_eigenvalues_of_the_hessian_obey_weyl)),
    "GGN doubled under the leverages": (scaled(Loss, "ggn", 2.0), on(test_laws.test_leverages_are_a_projection_of_trace_rank)),
    "GGN doubled in the step": (
        scaled(Loss, "ggn", 2.0),
        call(test_laws.test_one_natural_gradient_step_is_one_newton_step_on_the_linearised_model, "bernoulli")),
    "a gradient step for it": (
        instead(Loss, "fisher", lambda self, theta: np.eye(len(theta))),
        call(test_lemmas.test_a_natural_gradient_step_does_not_know_the_units_of_the_parameters, "normal")),
    "constants dropped": (
        after(likelihoods.Normal, "loss_and_residual",
              lambda found, lik, f, y: (found[0] - 0.5 * y.size * np.log(2 * np.pi * lik.variance), found[1])),
        test_laws.test_constants_added_to_the_loss_change_the_evidence_and_nothing_else),
    "A summed, linear network": (
        instead(kronecker, "_mean_of_outer_products", test_kronecker.fault_of_mean),
        on(test_kronecker.test_kfac_is_exact_in_a_linear_network_with_constant_curvature_of_the_outputs, DEEP_LINEAR)),
    "the block called KFAC": (
        instead(kronecker, "kfac", lambda pullback, split_bias=False: blocks.layer_blocks(pullback)),
        call(test_kronecker.test_kfac_is_not_exact_in_general, DEEP_NORMAL)),
    "EKFAC with KFAC's eigenvalues": (
        instead(kronecker, "ekfac", test_kronecker.kfac_values),
        on(test_kronecker.test_ekfac_keeps_the_trace_and_is_nearer_than_kfac, DEEP)),
    "Van Loan doubled": (
        instead(kronecker, "nearest_kronecker", doubled(kronecker.nearest_kronecker)),
        on(test_kronecker.test_nothing_of_its_form_is_nearer_than_the_nearest_kronecker_product, DEEP)),
    "KFRA doubled": (instead(kronecker, "kfra", doubled(kronecker.kfra)),
                     on(test_kronecker.test_kfra_is_kfac_in_a_linear_network, DEEP_LINEAR)),
    "determinant of the wrong sign": (
        lambda patch: [scaled(owner, "log_det", -1.0)(patch) for owner in (Dense, Diagonal)],
        on(test_kronecker.test_leaving_out_blocks_can_only_raise_the_determinant)),
    "evidence with + ½ log |P|": (
        instead(laplace, "log_evidence", without_log_det), test_laplace.test_the_evidence_orders_diagonal_blocks_and_full),
    "variances from the diagonal of P": (
        after(Pullback, "layer_blocks", lambda found, *_: [0.1 * block for block in found]),
        on(test_kronecker.test_the_marginal_variance_of_a_parameter_is_at_least_its_conditional_one)),
    "blocks of the full covariance": (
        instead(Pullback, "layer_blocks", lambda self, block_size=None: [0 * block for block in true_layer_blocks(self)]),
        test_kronecker.test_a_block_diagonal_posterior_can_over_state_the_variance_of_a_function),
    "the part without its prior": (
        instead(Subnetwork, "conditional", lambda self, prior: priors.isotropic(self.num_params, 1e-3)),
        on(test_subnetwork.test_a_part_has_no_more_variance_than_the_whole)),
    "GGN doubled in the Gauss-Newton step": (
        scaled(Loss, "ggn", 2.0),
        call(test_linearised.test_one_gauss_newton_step_lands_on_the_posterior_mean_of_the_linearised_regression, "tanh")),
    "tangent without f(θ*)": (
        after(Linearised, "evaluate", lambda at, net, theta, X: net.net.evaluate(0.9 * net.at, X)),
        call(test_linearised.test_a_mode_of_the_network_is_the_mode_of_its_linearisation, "normal")),
    "2π missing, GGN evidence": (
        instead(laplace, "log_evidence", without_two_pi),
        test_laplace.test_at_a_mode_the_ggn_evidence_is_the_marginal_likelihood_of_the_gaussian_process),
    "jitter in the Hessian, Laplace": (
        after(Loss, "hessian", jitter), on(test_laplace.test_without_hidden_layer_hessian_and_ggn_laplace_are_the_same, LINEAR)),
    "½ of the GGN in the last layer": (
        scaled(Loss, "hessian", 0.5), on(test_subnetwork.test_last_layer_laplace_is_the_exact_posterior_given_the_features)),
    "2π missing under a strong prior": (
        instead(laplace, "log_evidence", without_two_pi), test_laws.test_a_strong_prior_leaves_the_likelihood_at_the_prior_mean),
    "normaliser dropped under a weak prior": (
        instead(Gaussian, "_twice_log_constant", 0.0),
        test_laws.test_a_weak_prior_costs_half_a_log_precision_for_every_determined_direction),
    "half the second derivative along a line": (
        after(Evaluation, "bend", lambda value, *_: 0.5 * value),
        test_laws.test_intrinsic_curvature_is_the_same_in_all_coordinates_and_that_of_the_parameters_is_not),
    "temperature on nothing": (
        instead(likelihoods.Tempered, "factor", lambda self, f, y: self.likelihood.factor(f, y)),
        on(test_laplace.test_a_tempered_likelihood_divides_the_curvature_and_leaves_the_prior)),
    "the GGN for the Hessian in evidences": (
        instead(Loss, "hessian", lambda self, theta: self.ggn(theta)),
        call(test_laplace.test_evidences_with_hessian_and_ggn_differ_by_half_the_log_ratio_of_determinants, "normal")),
    "outputs rotated too far": (
        after(duals, "kernel", lambda K, left, right, *_: K * (1 + 1e-3 * np.abs(left.jacobian()[0, 0, 0]))),
        on(test_gp.test_rotating_the_parameters_under_an_isotropic_prior_changes_nothing)),
    "a probability off by a hundredth": (
        after(predict.binary, "probit", lambda p, *_: p + 0.01),
        test_predict_classes.test_the_binary_formulas_are_exact_where_they_must_be),
    "conditioning called projection": (
        instead(classes, "zero_sum", classes.conditioned),
        test_predict_classes.test_the_published_bridge_can_reverse_the_order_of_classes_and_the_law_preserving_one_less_so),
    "average of logarithms, Jensen": (
        instead(scores, "log_score_of_draws", lambda lp: -np.asarray(lp).mean(0)),
        test_scores.test_the_log_score_of_draws_is_never_worse_than_that_of_the_average_draw),
    "scores that are not normalised": (
        of_approximations("mf2", lambda moments: 1.01 * classes.mean_field_2(moments)),
        lambda: test_predict_classes.test_class_probabilities_are_probabilities.hypothesis.inner_test("mf2", 3)),
    "the mean of f through the link": (
        after(targets, "poisson", lambda t, f: predict.TargetMoments(np.exp(f.mean), t.aleatoric, t.epistemic)),
        test_predict_targets.test_the_mean_of_f_through_the_link_is_not_the_mean_of_the_targets),
    "log score without its constant": (
        after(scores, "log_score_of_normal", lambda s, m, *_: s - 0.5 * np.shape(m)[-1] * np.log(2 * np.pi)),
        test_scores.test_the_log_score_of_a_normal_is_that_of_the_likelihoods),
    "average of logarithms, density": (
        scaled(likelihoods.Normal, "log_prob", 0.9),
        test_predict_targets.test_the_averaged_density_is_the_quadrature_of_the_density),
    "logits not shifted back": (
        of_approximations("mf2", lambda moments: bridge.probabilities(np.exp(moments.mean - moments.mean.min() / 2) + 1)),
        call(test_predict_classes.test_a_shift_of_all_logits_changes_nothing_except_in_two_formulas, "mf2")),
    "mean field without covariances": (
        of_approximations("mf2", classes.mean_field_1),
        call(test_predict_classes.test_a_random_shift_of_all_logits_changes_nothing_where_only_contrasts_count, "mf2")),
    "variance that does not grow": (
        after(predict, "moments", lambda m, *_: Moments(m.mean, np.ones_like(m.covariance))),
        test_predict_targets.test_a_relu_network_is_not_sure_of_itself_far_away),
    "arc cosine without sin": (
        another(test_predict_prior, "arc_cosine", lambda K, true=test_predict_prior.arc_cosine: 1.05 * true(K)),
        test_predict_prior.test_the_arc_cosine_kernel_is_its_integral),
    "outputs cubed": (
        another(test_predict_prior, "erf", lambda z: z**3),
        call(test_predict_prior.test_a_narrow_network_is_not_gaussian_and_its_kurtosis_says_by_how_much, 2)),
    "outputs scaled, deep": (
        another(test_predict_prior, "taylor_order", lambda error, steps: 2.0),
        test_predict_prior.test_a_deeper_network_has_its_kernel_only_in_the_limit_and_the_error_is_one_over_the_width),
    "kernel off by a tenth": (
        another(test_predict_prior, "arc_sine", lambda K: 1.1 * true_kernel(K)),
        getattr(test_predict_prior, "test_bayesian_regression_on_random_features_approaches_the_process_of_the_wide_network_"
                                    "like_one_over_root_width")),
    "a prior that does not see θ": (
        instead(Gaussian, "log_prob", lambda self, theta: np.zeros(np.shape(theta)[:-1])),
        test_predict_prior.test_rescaling_a_relu_unit_changes_everything_but_the_function),
}


@pytest.mark.parametrize("plant, law_of_it", PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_breaks_its_law(plant, law_of_it, monkeypatch):
    law_of_it()
    plant(monkeypatch)
    with np.errstate(all="ignore"), pytest.raises((AssertionError, pytest.fail.Exception, optimize.NotAMode)):
        law_of_it()
