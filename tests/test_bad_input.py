"""Every public door refuses bad input with a ValueError that says what was expected and what came; nothing passes silently."""

from __future__ import annotations

import numpy as np
import pytest

from refbnn import Gaussian, Linearised, Loss, Mlp, Posterior
from refbnn import activations, curvature, duals, gp, hyper, kronecker, laplace, likelihoods, low_rank, mixture, optimize
from refbnn import predict, priors
from refbnn.blocks import BlockDiagonal
from refbnn.gaussian import kl
from refbnn.linalg import NotPositiveDefinite
from refbnn.low_rank import LowRankPlusDiagonal
from refbnn.precision import Dense, Diagonal
from refbnn.subnetwork import SubnetworkPullback

RNG = np.random.default_rng(0)
NET = Mlp((2, 3, 5), activations.tanh)
P, N, K = NET.num_params, 7, 5
THETA, X, V = RNG.normal(size=P), RNG.normal(size=(N, 2)), RNG.normal(size=(N, K))
NETWORKS = {"Mlp": NET, "Linearised": Linearised(NET, at=THETA)}
PRIOR = priors.isotropic(P, 1.3)
GAUSSIAN = Gaussian(np.ones(3), Dense(np.eye(3) + 0.1))
GOOD = {  # likelihood: (object, targets)
    "Normal": (likelihoods.Normal(0.4), V),
    "Bernoulli": (likelihoods.Bernoulli(), (V > 0).astype(float)),
    "Categorical": (likelihoods.Categorical(), np.arange(N) % K),
    "Poisson": (likelihoods.Poisson(), np.abs(np.rint(V))),
}
LOSS = Loss(NET, *[GOOD["Normal"][0], X, V])
POSTERIOR = Posterior(NET, GOOD["Normal"][0], PRIOR, X, V)


def broken(good: np.ndarray) -> dict:
    """Ways in which an array can be wrong, whatever its shape: name -> the wrong one."""
    nan, infinite = good.astype(float), good.astype(float)
    nan.flat[-1], infinite.flat[0] = np.nan, np.inf
    return {
        "one entry short": good[..., :-1], "an axis too few": good.reshape(-1)[0], "NaN": nan, "infinity": infinite,
        "complex": good * 1j, "objects": good.astype(object), "text": good.astype(str), "None": None, "a word": "theta",
        "ragged": [[1.0, 2.0], [3.0]], "empty": good[:0].reshape(0),
    }


def rows(*entries):
    """(words, function) as parameters with the words as ids."""
    return [pytest.param(function, id=words) for words, function in entries]


def refuses(function, match: str = "expected .* got"):
    """Assert that a call raises ValueError (NotPositiveDefinite is one) with what was expected and what came."""
    with pytest.raises(ValueError, match=match):
        function()


# -- networks ---------------------------------------------------------------------------------------------------------------

METHODS = {  # arguments by name, good ones
    "forward": ("theta", "X"), "jacobian": ("theta", "X"), "vjp": ("theta", "X", "v"), "vjp_per_datum": ("theta", "X", "v"),
    "jvp": ("theta", "X", "u"), "contracted_hessian": ("theta", "X", "v"), "contracted_hessian_product": ("theta", "X", "v", "u"),
}
ARGUMENTS = {"theta": THETA, "X": X, "v": V, "u": THETA}


@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("method, argument", [(method, name) for method, names in METHODS.items() for name in names])
def test_every_argument_of_every_network_method_is_checked(net, method, argument):
    for words, bad in broken(ARGUMENTS[argument]).items():
        arguments = [bad if name == argument else ARGUMENTS[name] for name in METHODS[method]]
        with pytest.raises(ValueError, match="expected .* got"):
            getattr(NETWORKS[net], method)(*arguments)
            pytest.fail(f"{net}.{method} accepted {argument}: {words}")


@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("function", rows(
    ("v of one column that would broadcast", lambda net: net.vjp(THETA, X, V[:, :1])),
    ("v of one row that would broadcast", lambda net: net.contracted_hessian(THETA, X, V[:1])),
    ("fewer v than data", lambda net: net.vjp(THETA, X, V[:3])),
    ("a batch of X", lambda net: net.forward(THETA, X[None])),
    ("a batch of θ where one is meant", lambda net: net.contracted_hessian(np.stack([THETA, THETA]), X, V)),
    ("a batch of v where one is meant", lambda net: net.contracted_hessian(THETA, X, np.stack([V, V]))),
    ("a batch of θ for gradients of every datum", lambda net: net.vjp_per_datum(np.stack([THETA, THETA]), X, V)),
    ("a batch of v for gradients of every datum", lambda net: net.vjp_per_datum(THETA, X, np.stack([V] * 3))),
))
def test_shapes_that_would_broadcast_are_refused(net, function):
    refuses(lambda: function(NETWORKS[net]))


def test_batches_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError):
        NET.jvp(np.stack([THETA] * 2), X, np.stack([THETA] * 3))


@pytest.mark.parametrize("sizes", [(2,), (), (2, 0), (2, -1, 3), (2, 2.5), ("a", 2), (2, True), None, 5, (2, np.nan)])
def test_sizes_that_are_no_network_are_refused(sizes):
    refuses(lambda: Mlp(sizes, activations.tanh), match="^sizes: expected .* got")


@pytest.mark.parametrize("activation", ["tanh", None, np.tanh, (activations.tanh, activations.tanh), (), [np.tanh]])
def test_activations_of_the_wrong_number_or_kind_are_refused(activation):
    refuses(lambda: Mlp((2, 3, 2), activation))


@pytest.mark.parametrize("bias", [0, 2, "no", None, np.ones(2)])
def test_a_bias_that_is_not_true_or_false_is_refused(bias):
    refuses(lambda: Mlp((2, 3, 2), activations.tanh, bias=bias))


@pytest.mark.parametrize("function", rows(
    ("θ too short to unflatten", lambda: NET.unflatten(THETA[:-1])),
    ("θ too long to unflatten", lambda: NET.unflatten(np.append(THETA, 0.0))),
    ("layers of another network", lambda: NET.flatten(Mlp((2, 4, 5), activations.tanh).unflatten(np.ones(37)))),
    ("a layer missing", lambda: NET.flatten(NET.unflatten(THETA)[:1])),
    ("a transposed weight", lambda: NET.flatten([(W.T, b) for W, b in NET.unflatten(THETA)])),
    ("a bias missing", lambda: NET.flatten([(W, None) for W, b in NET.unflatten(THETA)])),
    ("linearised at too few parameters", lambda: Linearised(NET, at=THETA[:-1])),
    ("linearised at NaN", lambda: Linearised(NET, at=THETA * np.nan)),
    ("linearised at two points", lambda: Linearised(NET, at=np.stack([THETA, THETA]))),
    ("derivative of order 5", lambda: activations.tanh.derivatives(THETA, 5)),
    ("derivative of order −1", lambda: activations.tanh.derivatives(THETA, -1)),
    ("derivative of order 1.5", lambda: activations.tanh.derivatives(THETA, 1.5)),
))
def test_layers_points_and_orders_are_checked(function):
    refuses(function)


# -- numbers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, "a", None, np.ones(2), 1j, [1.0]], ids=repr)
@pytest.mark.parametrize("function", rows(
    ("variance", likelihoods.Normal),
    ("isotropic precision", lambda value: priors.isotropic(3, value)),
    ("precision of a layer", lambda value: priors.per_layer((3, 4), [1.0, value])),
    ("precision of a parameter", lambda value: priors.per_parameter([1.0, value])),
))
def test_variances_and_precisions_that_are_not_positive_numbers_are_refused(function, value):
    refuses(lambda: function(value), match="expected")


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "a", None, 1j, np.ones(2)], ids=repr)
def test_a_slope_that_is_negative_or_no_number_is_refused(value):
    refuses(lambda: activations.leaky_relu(value))


# -- priors, Gaussians, precisions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", rows(
    ("no parameters", lambda: priors.isotropic(0, 1.0)),
    ("half a parameter", lambda: priors.isotropic(2.5, 1.0)),
    ("mean of the wrong length", lambda: priors.isotropic(3, 1.0, np.ones(4))),
    ("mean NaN", lambda: priors.isotropic(3, 1.0, np.nan)),
    ("mean a word", lambda: priors.isotropic(3, 1.0, "zero")),
    ("mean complex", lambda: priors.isotropic(3, 1.0, 1j)),
    ("mean None", lambda: priors.isotropic(3, 1.0, None)),
    ("one precision for two layers", lambda: priors.per_layer((3, 4), [1.0])),
    ("a layer of −4", lambda: priors.per_layer((3, -4), [1.0, 2.0])),
    ("a layer of 3.5", lambda: priors.per_layer((3.5, 4), [1.0, 2.0])),
    ("precisions in a matrix", lambda: priors.per_parameter(np.eye(3))),
    ("Gaussian with an array for precision", lambda: Gaussian(np.ones(2), np.eye(2))),
    ("Gaussian with the class for precision", lambda: Gaussian(np.ones(2), Dense)),
    ("Gaussian without precision", lambda: Gaussian(np.ones(2), None)),
    ("Gaussian with a longer mean", lambda: Gaussian(np.ones(3), Diagonal([1.0, 2.0]))),
    ("divergence between sizes", lambda: kl(GAUSSIAN, PRIOR)),
    ("divergence from nothing", lambda: kl(GAUSSIAN, None)),
    ("a seed for a generator", lambda: GAUSSIAN.sample(3)),
    ("no generator", lambda: GAUSSIAN.sample(None)),
))
def test_priors_and_gaussians_are_checked(function):
    refuses(function)


@pytest.mark.parametrize("method", ["log_prob", "gradient", "from_normals"])
def test_points_of_a_gaussian_are_checked(method):
    for bad in (*broken(np.ones(3)).values(), 1.0, np.ones((3, 4))):
        refuses(lambda: getattr(GAUSSIAN, method)(bad))


@pytest.mark.parametrize("precision", [Dense(np.eye(3) + 0.1), Diagonal([1.0, 2.0, 3.0])], ids=["dense", "diagonal"])
@pytest.mark.parametrize("method", ["matvec", "solve", "scale_matvec", "scale_transposed_matvec"])
def test_vectors_for_a_precision_are_checked(precision, method):
    for bad in (*broken(np.ones(3)).values(), 1.0, np.ones((3, 4))):
        refuses(lambda: getattr(precision, method)(bad))


MATRICES = {
    "not square": np.ones((2, 3)), "a vector": np.ones(3), "three axes": np.ones((2, 2, 2)), "text": np.array([["a"]]),
    "not symmetric": np.array([[1.0, 2.0], [0.0, 1.0]]), "NaN": np.full((2, 2), np.nan), "None": None,
    "ragged": [[1.0], [1.0, 2.0]],
}
INDEFINITE = {
    "indefinite": np.array([[1.0, 2.0], [2.0, 1.0]]), "negative": -np.eye(2), "zero": np.zeros((2, 2)),
    "singular": np.ones((2, 2)),
    "singular up to round-off": np.array([[2.0, 2.0], [2.0, 2.0]]) + 4e-16 * np.eye(2),
}
MATRIX_DOORS = rows(("priors.full", priors.full), ("Dense", Dense), ("laplace.at", lambda A: laplace.at(np.ones(2), A)))


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("function", MATRIX_DOORS)
def test_what_is_no_symmetric_matrix_is_refused(function, matrix):
    refuses(lambda: function(MATRICES[matrix]))


@pytest.mark.parametrize("matrix", INDEFINITE)
@pytest.mark.parametrize("function", MATRIX_DOORS)
def test_a_matrix_that_is_not_positive_definite_is_refused_with_its_smallest_eigenvalue(function, matrix):
    with pytest.raises(NotPositiveDefinite, match="expected a positive-definite matrix, got one with smallest eigenvalue"):
        function(INDEFINITE[matrix])


def test_ill_scaled_but_positive_matrices_are_not_refused():
    """Units must not matter: a diagonal rescaling by sixteen orders of magnitude keeps a matrix positive definite."""
    scales = np.array([1e-8, 1.0, 1e8])
    P = np.array([[2.0, 1.0, 0.5], [1.0, 2.0, 1.0], [0.5, 1.0, 2.0]])
    expected = np.linalg.slogdet(P)[1] + 2 * np.log(scales).sum()
    assert abs(Dense(P * np.outer(scales, scales)).log_det() - expected) < 1e-12


@pytest.mark.parametrize("other", [np.ones(2), np.eye(3), np.full((2, 2), np.nan), None, "a", -5 * np.eye(2),
                                   np.array([[0.0, 1.0], [0.0, 0.0]]), Diagonal([1.0, 2.0, 3.0])], ids=repr)
@pytest.mark.parametrize("precision", [Dense(np.eye(2)), Diagonal([1.0, 2.0])], ids=["dense", "diagonal"])
def test_what_is_added_to_a_precision_is_checked_from_both_sides(precision, other):
    refuses(lambda: precision + other)
    refuses(lambda: other + precision)


# -- data -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_inputs_of_a_loss_and_a_posterior_are_checked(name):
    likelihood, y = GOOD[name]
    for words, bad in {**broken(X), "fewer than targets": X[:3], "a column too many": np.ones((N, 3)), "no data": X[:0]}.items():
        for door in (lambda: Loss(NET, likelihood, bad, y), lambda: Posterior(NET, likelihood, PRIOR, bad, y)):
            refuses(door)


@pytest.mark.parametrize("name", GOOD)
def test_targets_are_checked_at_every_door(name):
    likelihood, y = GOOD[name]
    loss = Loss(NET, likelihood, X, y)
    shapes = {"transposed": V.T, "fewer than inputs": y[:3], "three axes": V[None], "no targets": y[:0]}
    for words, bad in {**broken(y), **shapes}.items():
        refuses(lambda: Loss(NET, likelihood, X, bad))
        refuses(lambda: Posterior(NET, likelihood, PRIOR, X, bad))
        refuses(lambda: loss.sampled_fisher(THETA, bad))
        refuses(lambda: likelihood.check_targets(bad, N, K))


@pytest.mark.parametrize("name, bad", [
    ("Bernoulli", 2.0), ("Bernoulli", -1.0), ("Bernoulli", 0.5), ("Poisson", -1.0), ("Poisson", 1.5), ("Categorical", K),
    ("Categorical", -1), ("Categorical", 0.5),
])
def test_targets_outside_the_support_are_refused_with_the_offender(name, bad):
    likelihood, y = GOOD[name]
    y = y.astype(float)
    y.flat[-1] = bad
    refuses(lambda: Loss(NET, likelihood, X, y), match=rf"y: expected .* got {bad:g}")


def test_the_range_of_labels_is_told():
    refuses(lambda: Loss(NET, likelihoods.Categorical(), X, np.full(N, 5)), match="y: expected labels 0 to 4, got 5")


def test_one_column_of_targets_is_not_stretched_over_several_outputs():
    for name in ("Normal", "Bernoulli", "Poisson"):
        likelihood, y = GOOD[name]
        for bad in (y[:, 0], y[:, :1], y[:1], y[0]):
            refuses(lambda: Loss(NET, likelihood, X, bad), match=r"y: expected shape \(7, 5\), got")


@pytest.mark.parametrize("name", GOOD)
def test_a_loss_needs_data(name):
    likelihood, y = GOOD[name]
    refuses(lambda: Loss(NET, likelihood, X[:0], y[:0]), match="expected at least one datum, got none")


def test_classes_need_two_outputs():
    one_output = Mlp((2, 1), activations.tanh)
    refuses(lambda: Loss(one_output, likelihoods.Categorical(), X, np.zeros(N)), match="at least 2 outputs, got 1")


@pytest.mark.parametrize("function", rows(
    ("no likelihood", lambda: Loss(NET, None, X, V)),
    ("the class of a likelihood", lambda: Loss(NET, likelihoods.Bernoulli, X, V)),
    ("no network", lambda: Loss(None, likelihoods.Normal(1.0), X, V)),
    ("the class of a network", lambda: Loss(Mlp, likelihoods.Normal(1.0), X, V)),
    ("a prior of another length", lambda: Posterior(NET, likelihoods.Normal(1.0), priors.isotropic(P + 1, 1.0), X, V)),
    ("a matrix for a prior", lambda: Posterior(NET, likelihoods.Normal(1.0), np.eye(P), X, V)),
    ("no prior", lambda: Posterior(NET, likelihoods.Normal(1.0), None, X, V)),
))
def test_the_parts_of_a_model_are_checked(function):
    refuses(function)


@pytest.mark.parametrize("method", ["value", "gradient", "hessian", "ggn", "fisher", "empirical_fisher", "per_datum_gradients"])
def test_theta_is_checked_by_every_method_of_a_loss(method):
    for bad in broken(THETA).values():
        refuses(lambda: getattr(LOSS, method)(bad))


def test_both_arguments_of_a_hessian_product_are_checked():
    for bad in broken(THETA).values():
        refuses(lambda: LOSS.hessian_vector_product(bad, THETA))
        refuses(lambda: LOSS.hessian_vector_product(THETA, bad))
        refuses(lambda: LOSS.sampled_fisher(bad, V))


@pytest.mark.parametrize("method", ["log_prob", "log_likelihood", "value_and_gradient", "negative_hessian"])
def test_theta_is_checked_by_every_method_of_a_posterior(method):
    for bad in broken(THETA).values():
        refuses(lambda: getattr(POSTERIOR, method)(bad))


@pytest.mark.parametrize("net", NETWORKS)
@pytest.mark.parametrize("method", ["hessian", "ggn", "fisher", "empirical_fisher", "per_datum_gradients"])
def test_matrices_are_for_one_theta_and_draws_are_never_summed_over(net, method):
    loss = Loss(NETWORKS[net], likelihoods.Normal(0.4), X, V)
    refuses(lambda: getattr(loss, method)(np.stack([THETA, THETA])))


J, S = NET.jacobian(THETA, X), GOOD["Normal"][0].factor(V, V)


@pytest.mark.parametrize("function", rows(
    ("a batch of Jacobians", lambda: curvature.ggn(np.stack([J, J]), np.stack([S, S]))),
    ("a batch of Jacobians in a congruence", lambda: curvature.congruence(np.stack([J, J]), np.stack([S, S]))),
    ("fewer factors than data", lambda: curvature.ggn(J, S[:3])),
    ("one factor for all data", lambda: curvature.ggn(J, S[0])),
    ("one matrix for all data", lambda: curvature.congruence(J, S[:1])),
    ("NaN in the Jacobian", lambda: curvature.ggn(J * np.nan, S)),
    ("NaN in a factor", lambda: curvature.ggn(J, S * np.nan)),
    ("one gradient", lambda: curvature.empirical_fisher(THETA)),
    ("NaN in gradients", lambda: curvature.empirical_fisher(J[:, 0] * np.nan)),
))
def test_arrays_for_curvature_matrices_are_checked(function):
    refuses(function)


# -- inference and prediction -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", rows(
    ("two starts", lambda: optimize.maximize(POSTERIOR, np.stack([THETA, THETA]))),
    ("a start too short", lambda: optimize.maximize(POSTERIOR, THETA[:-1])),
    ("a start of NaN", lambda: optimize.maximize(POSTERIOR, THETA * np.nan)),
    ("no start", lambda: optimize.maximize(POSTERIOR, None)),
    ("no posterior", lambda: optimize.maximize(None, THETA)),
    ("no iterations", lambda: optimize.maximize(POSTERIOR, THETA, max_iterations=0)),
    ("iterations in words", lambda: optimize.maximize(POSTERIOR, THETA, max_iterations="many")),
    ("Laplace at a point of another length", lambda: laplace.at(np.ones(3), np.eye(2))),
    ("Laplace at NaN", lambda: laplace.at([np.nan, 1.0], np.eye(2))),
    ("evidence of NaN", lambda: laplace.log_evidence(np.nan, GAUSSIAN)),
    ("evidence of two points", lambda: laplace.log_evidence(np.ones(2), GAUSSIAN)),
    ("evidence of nothing", lambda: laplace.log_evidence(None, GAUSSIAN)),
    ("moments of a nonlinear network", lambda: predict.moments(NET, PRIOR, X)),
    ("moments under an array", lambda: predict.moments(NETWORKS["Linearised"], THETA, X)),
    ("moments under a Gaussian of another length", lambda: predict.moments(NETWORKS["Linearised"], GAUSSIAN, X)),
    ("moments at a vector of inputs", lambda: predict.moments(NETWORKS["Linearised"], PRIOR, X[:, 0])),
    ("draws that are one point", lambda: predict.monte_carlo(NET, likelihoods.Normal(1.0), THETA, X)),
    ("no draws", lambda: predict.monte_carlo(NET, likelihoods.Normal(1.0), np.ones((0, P)), X)),
    ("draws of another length", lambda: predict.monte_carlo(NET, likelihoods.Normal(1.0), np.ones((4, P - 1)), X)),
    ("NaN among the draws", lambda: predict.monte_carlo(NET, likelihoods.Normal(1.0), np.full((4, P), np.nan), X)),
    ("inputs in a vector", lambda: predict.monte_carlo(NET, likelihoods.Normal(1.0), np.ones((4, P)), X[:, 0])),
))
def test_inference_and_prediction_are_checked(function):
    refuses(function)


# -- what is good stays good ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", rows(
    ("lists for arrays", lambda: NET.forward(THETA.tolist(), X.tolist())),
    ("integers for floats", lambda: NET.forward(np.ones(P, dtype=int), np.ones((N, 2), dtype=int))),
    ("single precision", lambda: NET.forward(THETA.astype(np.float32), X.astype(np.float32))),
    ("booleans for binary targets", lambda: Loss(NET, likelihoods.Bernoulli(), X, V > 0).value(THETA)),
    ("floats for labels", lambda: Loss(NET, likelihoods.Categorical(), X, np.arange(N) % K * 1.0).value(THETA)),
    ("lists for a precision", lambda: laplace.at([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]).entropy()),
    ("a list added to a precision", lambda: (Diagonal([1.0, 2.0]) + [[1.0, 0.0], [0.0, 1.0]]).log_det()),
    ("numpy integers for sizes", lambda: Mlp(np.array([2, 3, 1]), activations.tanh).num_params),
    ("not contiguous arrays", lambda: NET.forward(np.repeat(THETA, 2)[::2], np.asfortranarray(X))),
))
def test_good_input_in_other_clothes_is_accepted_in_double_precision(function):
    value = np.asarray(function())
    assert np.isfinite(value).all() and value.dtype.kind in "fi" and value.dtype.itemsize == 8


CURVED = Loss(Mlp((2, 3, 2), activations.tanh), likelihoods.Categorical(), np.eye(2), [0, 1]).at(np.linspace(-1, 1, 17))
KFAC = kronecker.kfac(CURVED.ggn)


@pytest.mark.parametrize("call", rows(
    ("block size −1", lambda: CURVED.hessian.full(block_size=-1)),
    ("block size 0", lambda: CURVED.ggn.full(block_size=0)),
    ("block size 2.0 of layer blocks", lambda: CURVED.ggn.layer_blocks(2.0)),
    ("empty subset", lambda: CURVED.ggn.subset([])),
    ("principal rows off range", lambda: Dense(np.eye(3)).principal([0, 3])),
    ("negative principal rows", lambda: Diagonal(np.ones(3)).principal([-1])),
    ("no principal rows", lambda: BlockDiagonal((Dense(np.eye(3)),)).principal([])),
    ("principal rows twice", lambda: LowRankPlusDiagonal(np.ones((3, 1)), np.ones(3)).principal([1, 1])),
    ("subset of a part with a negative index", lambda: SubnetworkPullback(CURVED.ggn, np.arange(4)).subset([-1])),
    ("vector too long for blocks", lambda: KFAC.matvec(np.ones(20))),
    ("vector too long for a precision of blocks", lambda: KFAC.plus(1.0).solve(np.ones(20))),
    ("vector too short for Kronecker factors", lambda: KFAC.blocks[0].matvec(np.ones(8))),
    ("NaN for blocks", lambda: KFAC.matvec(np.full(17, np.nan))),
    ("normals too long for a Kronecker precision", lambda: KFAC.plus(1.0).blocks[0].scale_matvec(np.ones(12))),
    ("damping of NaN", lambda: KFAC.blocks[0].damped(np.nan)),
    ("low rank with a correlated prior", lambda: low_rank.leading(CURVED.ggn, 2).plus(Dense(np.eye(17) + 0.1))),
    ("low rank plus a number", lambda: low_rank.leading(CURVED.ggn, 2).plus(1.0)),
    ("vector too long for low rank", lambda: low_rank.leading(CURVED.ggn, 2).matvec(np.ones(18))),
    ("negative precision of a layer", lambda: duals.ntk(CURVED.evaluation, CURVED.evaluation, [-1.0, 1.0])),
))
def test_structures_of_curvature_check_what_they_are_given(call):
    with pytest.raises(ValueError, match="expected .* got"):
        call()


@pytest.mark.parametrize("call", rows(
    ("leave-one-out of a process", lambda: gp.leave_one_out(gp.GaussianProcess(NETWORKS["Linearised"], PRIOR))),
    ("prequential of nothing", lambda: gp.prequential(None)),
    ("gradient of a conditioned process", lambda: gp.laplace_log_precision_gradient(THETA, likelihoods.Normal(1.0), V)),
    ("evidence with the name of a curvature", lambda: hyper.at(
        hyper.Family(NET, hyper.NoiseVariance(), hyper.one(P), X, V), "ggn", np.zeros(2), THETA)),
    ("one and a half copies", lambda: mixture.log_evidence([0.0], [1.5])),
    ("evidence without a Gaussian", lambda: laplace.log_evidence(1.0, None)),
    ("linearised nothing", lambda: Linearised(None, THETA)),
))
def test_doors_say_what_they_expected(call):
    with pytest.raises(ValueError, match="expected .* got"):
        call()
