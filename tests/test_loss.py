"""The loss, its gradient and its Hessian (identities A3, A4, C1, C3, C18, D16 in part)."""

import numpy as np

from refbnn import Loss
from refbnn.testing import taylor_order
from tests import oracles
from tests.judge import agree, condition, norm_or_one
from tests.zoo import EVERY, SMOOTH, law


def size_of_terms(case):
    """Σ_n ‖J_n‖ ‖r_n‖: the size of what is summed in the gradient."""
    J = case.net.jacobian(case.theta, case.X)
    r = case.likelihood.residual(case.net.forward(case.theta, case.X), case.y)
    return sum(np.linalg.norm(Jn) * np.linalg.norm(rn) for Jn, rn in zip(J, r)) or 1.0


@law(likelihood=EVERY)
def test_the_loss_is_the_sum_of_minus_log_probabilities_with_every_constant(spec):
    case = spec.build()
    kappa = condition(case, lambda c: c.loss.value(c.theta))
    agree(case.loss.value(case.theta), oracles.loss(case, case.theta), terms=case.terms, condition=kappa)


@law(likelihood=EVERY)
def test_the_gradient_is_the_complex_step_of_the_loss(spec):
    case = spec.build()
    expected = oracles.complex_step(lambda theta: oracles.loss(case, theta), case.theta)
    scale = size_of_terms(case)
    kappa = condition(case, lambda c: c.loss.gradient(c.theta), scale)
    agree(case.loss.gradient(case.theta), expected, terms=case.terms, condition=kappa, scale=scale)


@law()
def test_the_gradient_is_what_autograd_finds(spec):
    case = spec.build()
    scale = size_of_terms(case)
    kappa = condition(case, lambda c: c.loss.gradient(c.theta), scale)
    agree(case.loss.gradient(case.theta), oracles.autograd_gradient(case), terms=case.terms, condition=kappa, scale=scale)


@law(likelihood=EVERY)
def test_per_datum_gradients_are_jacobian_times_residual_and_sum_to_the_gradient(spec):
    case = spec.build()
    J = oracles.jacobian(case)
    r = oracles.residual(spec.likelihood, oracles.forward(spec, case.theta, case.X), case.y)
    expected = np.array([Jn.T @ rn for Jn, rn in zip(J, r)])
    scale = size_of_terms(case)
    kappa = condition(case, lambda c: c.loss.per_datum_gradients(c.theta), scale)
    got = case.loss.per_datum_gradients(case.theta)
    agree(got, expected, terms=case.terms, condition=kappa, scale=scale)
    agree(got.sum(0), case.loss.gradient(case.theta), terms=case.terms, scale=scale)


@law(likelihood=EVERY)
def test_the_hessian_is_the_complex_step_of_the_gradient(spec):
    """Eqs. (assembly) and (pre-activation-hessian)."""
    case = spec.build()
    expected = oracles.hessian(case)
    kappa = condition(case, lambda c: c.loss.hessian(c.theta), norm_or_one(expected))
    agree(case.loss.hessian(case.theta), expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected))


@law()
def test_the_hessian_is_what_autograd_finds(spec):
    case = spec.build()
    expected = oracles.autograd_hessian(case)
    kappa = condition(case, lambda c: c.loss.hessian(c.theta), norm_or_one(expected))
    agree(case.loss.hessian(case.theta), expected, terms=case.terms, condition=kappa, scale=norm_or_one(expected))


@law(likelihood=EVERY)
def test_the_hessian_vector_product_is_that_of_the_matrix(spec):
    """Eq. (r-operator)."""
    case = spec.build()
    H, product = case.loss.hessian(case.theta), case.loss.hessian_vector_product(case.theta, case.vector)
    scale = norm_or_one(H) * np.linalg.norm(case.vector)
    kappa = condition(case, lambda c: c.loss.hessian(c.theta))
    agree(product, H @ case.vector, terms=case.terms, condition=kappa, scale=scale)


@law(activation=tuple(name for name in SMOOTH if name != "identity"), hidden=(1, 3))
def test_central_differences_of_the_gradient_approach_the_hessian_product_with_order_two(spec):
    """Identity C18, unless the third derivative along v is too small for the remainder to stand clear of round-off."""
    case = spec.build()
    g, v = case.loss.gradient, case.vector / np.linalg.norm(case.vector)
    Hv = case.loss.hessian_vector_product(case.theta, v)

    def remainder(h):
        return (g(case.theta + h * v) - g(case.theta - h * v)) / (2 * h) - Hv

    steps = 2.0 ** -np.arange(6, 10)
    round_off = 1e-15 * case.terms * size_of_terms(case) / steps[-1]
    if np.linalg.norm(remainder(steps[-1])) > 1e3 * round_off:
        assert abs(taylor_order(remainder, steps) - 2) < 0.2


@law(likelihood=EVERY)
def test_everything_is_a_sum_over_data_and_never_a_mean(spec):
    """Identity A4: curvature(X₁ ∪ X₂) = curvature(X₁) + curvature(X₂), and the same data twice count twice."""
    case = spec.build()
    def twice(a): return np.concatenate([a, a])
    double = Loss(case.net, case.likelihood, twice(case.X), twice(case.y))
    singles = [Loss(case.net, case.likelihood, case.X[n:n + 1], case.y[n:n + 1]) for n in range(len(case.X))]
    for quantity in ("value", "gradient", "hessian", "ggn", "fisher", "empirical_fisher"):
        def at(loss): return getattr(loss, quantity)(case.theta)
        pieces = [at(loss) for loss in singles]
        scale = sum(np.linalg.norm(piece) for piece in pieces) or 1.0
        agree(at(case.loss), sum(pieces), terms=case.terms, scale=scale)
        agree(at(double), 2 * at(case.loss), terms=case.terms, scale=scale)


@law(likelihood=EVERY)
def test_the_order_of_the_data_does_not_matter(spec):
    case = spec.build()
    order = np.random.default_rng(0).permutation(len(case.X))
    shuffled = Loss(case.net, case.likelihood, case.X[order], case.y[order])
    for quantity in ("value", "gradient", "hessian", "ggn", "fisher", "empirical_fisher"):
        expected = getattr(case.loss, quantity)(case.theta)
        agree(getattr(shuffled, quantity)(case.theta), expected, terms=case.terms, scale=norm_or_one(expected),
              condition=condition(case, lambda c: getattr(c.loss, quantity)(c.theta)))
    agree(shuffled.per_datum_gradients(case.theta), case.loss.per_datum_gradients(case.theta)[order], terms=case.terms,
          scale=size_of_terms(case))


@law(likelihood=EVERY)
def test_batched_losses_equal_loops_over_single_ones(spec):
    case = spec.build()
    loss, rng = case.loss, np.random.default_rng(2)
    thetas = case.theta * (1 + 0.1 * rng.normal(size=(2, 3, len(case.theta))))
    vectors = rng.normal(size=thetas.shape)
    for together, alone in (
        (loss.value(thetas), lambda s: loss.value(thetas[s])),
        (loss.gradient(thetas), lambda s: loss.gradient(thetas[s])),
        (loss.hessian_vector_product(thetas, vectors), lambda s: loss.hessian_vector_product(thetas[s], vectors[s])),
        (loss.hessian_vector_product(case.theta, vectors), lambda s: loss.hessian_vector_product(case.theta, vectors[s])),
        (loss.hessian_vector_product(thetas, case.vector), lambda s: loss.hessian_vector_product(thetas[s], case.vector)),
    ):
        looped = np.array([[alone((i, j)) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=case.terms, condition=10, scale=norm_or_one(looped))
