"""Function draws, noise, and the two parts of the covariance of targets (identities L1, L8, L9, L14, L15, L17, L18, L21)."""

import dataclasses

import numpy as np
import pytest
from scipy.special import expit, ndtr

from refbnn import Linearised, Mlp, activations, laplace, likelihoods, linalg, predict, priors, quadrature
from refbnn.linalg import NotPositiveDefinite
from refbnn.predict import Joint, Moments, TargetMoments, binary, targets
from tests import oracles
from tests.judge import agree, mean_agrees, norm_or_one, vanishes
from tests.test_rejects_faults import after, instead
from tests.zoo import Spec, law

NORMAL = likelihoods.Normal(0.37)


def glm(case):
    """Linearised network and GGN posterior at θ."""
    return Linearised(case.net, at=case.theta), laplace.at(case.theta, case.prior.precision + case.loss.ggn(case.theta))


def outputs(k, m=3, seed=0, width=0.8):
    """Gaussian outputs with dense covariances."""
    rng = np.random.default_rng([seed, k, m])
    A = width * rng.normal(size=(m, k, k)) / np.sqrt(k)
    return Moments(0.5 * rng.normal(size=(m, k)), A @ np.swapaxes(A, 1, 2))


# -- functions, jointly over inputs -----------------------------------------------------------------------------------------


@law()
def test_the_joint_covariance_is_the_loop_over_pairs_of_inputs(spec):
    """Identity L15: J(x) Σ J(x')ᵀ; its diagonal blocks are the marginal covariances, Eq. (joint-predictive)."""
    case = spec.build()
    linear, q = glm(case)
    P = case.loss.ggn(case.theta) + oracles.dense(case.prior.precision)
    J, S = oracles.jacobian(case, case.X_new), np.linalg.inv(P)
    expected = np.array([[a @ S @ b.T for b in J] for a in J]).transpose(0, 2, 1, 3)
    scale, found = np.linalg.norm(S, 2) * norm_or_one(J) ** 2, predict.joint(linear, q, case.X_new)
    agree(found.covariance, expected, terms=case.terms, condition=np.linalg.cond(P), scale=scale)
    marginals, alone = found.marginals(), predict.moments(linear, q, case.X_new)
    agree(marginals.covariance, alone.covariance, terms=case.terms, scale=scale)
    agree(marginals.mean, alone.mean, terms=case.terms, scale=norm_or_one(alone.mean))


def covariance_of_map(joint):
    """Cov of from_normals(z), z ~ N(0, I), from its columns: no sampling."""
    m, k, r = joint.root.shape
    columns = (joint.from_normals(np.eye(r)) - joint.mean).reshape(r, m * k)
    return (columns.T @ columns).reshape(m, k, m, k)


@law()
def test_function_draws_have_the_joint_covariance_and_are_draws_of_the_parameters(spec):
    """Eq. (joint-draws)."""
    case = spec.build()
    linear, q = glm(case)
    joint = predict.joint(linear, q, case.X_new)
    scale = norm_or_one(joint.root) ** 2
    agree(covariance_of_map(joint), joint.covariance, terms=case.terms, scale=scale)
    z = np.random.default_rng(0).normal(size=(2, 3, q.num_params))
    drawn = linear.forward(q.from_normals(z), case.X_new)
    kappa = np.linalg.cond(oracles.dense(q.precision))
    agree(joint.from_normals(z), drawn, terms=case.terms, condition=kappa, scale=norm_or_one(drawn) + norm_or_one(joint.root))


def test_function_draws_from_a_given_covariance_have_it():
    """m k = 6 values of a rank-4 covariance: singular, as of a model with four parameters."""
    A = np.random.default_rng(0).normal(size=(3, 2, 4))
    covariance = np.einsum("ikp,jlp->ikjl", A, A)
    joint = Joint.from_covariance(np.zeros((3, 2)), covariance)
    agree(joint.covariance, covariance, terms=60)
    agree(covariance_of_map(joint), covariance, terms=60)


def test_sampled_functions_have_the_moments_of_the_law():
    joint = Joint.from_covariance([[0.3], [1.0]], np.array([[1.0, 0.6], [0.6, 0.5]]).reshape(2, 1, 2, 1))
    f = joint.sample(np.random.default_rng(0), (20_000,))[..., 0]
    mean_agrees(f, [0.3, 1.0], smallest_effect=0.1)
    centred = f - [0.3, 1.0]
    mean_agrees(centred[:, :, None] * centred[:, None, :], [[1.0, 0.6], [0.6, 0.5]], smallest_effect=0.2)


def test_the_symmetric_root_is_the_root():
    A = np.random.default_rng(0).normal(size=(4, 5, 5))
    for M in (A @ np.swapaxes(A, 1, 2), np.ones((2, 3, 3)), np.zeros((1, 2, 2)), np.array([[[4.0]]])):
        R = linalg.symmetric_root("M", M)
        agree(R @ R, M, terms=50, scale=norm_or_one(M))
        agree(R, np.swapaxes(R, 1, 2), terms=5, scale=norm_or_one(R))
        assert (np.linalg.eigvalsh(R) > -1e-13).all()


# -- noise ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood, noise", [
    (NORMAL, 0.37 * np.eye(2)),
    (likelihoods.NormalFull(np.array([[1.0, 0.3], [0.3, 0.5]])), np.array([[1.0, 0.3], [0.3, 0.5]])),
    (likelihoods.StudentT(0.5, 6.0), 0.25 * 6 / 4 * np.eye(2)),
])
def test_noise_is_added_once_and_only_when_asked_for(likelihood, noise):
    """Eq. (noise-added)."""
    f = outputs(2)
    found = predict.with_noise(f, likelihood)
    agree(found.aleatoric, np.broadcast_to(noise, (3, 2, 2)), terms=10)
    agree(found.epistemic, f.covariance, terms=2)
    agree(found.covariance, f.covariance + noise, terms=10)
    agree(found.mean, f.mean, terms=2)


@pytest.mark.parametrize("likelihood", [likelihoods.Bernoulli(), likelihoods.Poisson(), likelihoods.Heteroscedastic(),
                                        likelihoods.Categorical()], ids=lambda likelihood: type(likelihood).__name__)
def test_noise_that_depends_on_f_is_not_just_added(likelihood):
    with pytest.raises(ValueError, match="expected additive noise.*targets.under"):
        predict.with_noise(outputs(2), likelihood)


def test_the_noisy_prediction_is_the_law_of_the_targets():
    """y = f + ε drawn jointly: covariance of the draws by a product rule over (f, ε)."""
    f = outputs(1)
    rule = quadrature.gauss_hermite(2, 6)
    y = rule.integrate(lambda z: (np.sqrt(f.variance[:, 0]) * z[:, :1] + np.sqrt(0.37) * z[:, 1:]) ** 2)
    agree(predict.with_noise(f, NORMAL).covariance[:, 0, 0], y.value, terms=100)


# -- targets under a Gaussian f ---------------------------------------------------------------------------------------------

CLOSED = {
    "normal": (NORMAL, lambda f: predict.with_noise(f, NORMAL)),
    "poisson": (likelihoods.Poisson(), lambda f: targets.poisson(f)),
    "heteroscedastic": (likelihoods.Heteroscedastic(), targets.heteroscedastic),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_are_what_quadrature_finds(name):
    """Identities L8, L9, Eq. (heteroscedastic-predictive)."""
    likelihood, closed = CLOSED[name]
    f = outputs(2)
    found, expected = targets.under(f, likelihood, quadrature.gauss_hermite(2, 40)), closed(f)
    for part in ("mean", "aleatoric", "epistemic"):
        value, error = getattr(found.value, part), getattr(found.error, part)
        assert (np.abs(value - getattr(expected, part)) <= error).all()
        assert error.max() < 1e-8


def test_the_poisson_variance_is_that_of_a_lognormal_rate_plus_its_mean():
    """Identity L8: m + m²(e^v − 1), Eq. (poisson-lognormal)."""
    f = outputs(1)
    m = np.exp(f.mean + f.variance / 2)
    agree(targets.poisson(f).covariance[:, :, 0], m + m**2 * (np.exp(f.variance) - 1), terms=20)


LIKELIHOODS = {
    "normal": NORMAL, "bernoulli": likelihoods.Bernoulli(), "categorical": likelihoods.Categorical(),
    "poisson": likelihoods.Poisson(), "probit": likelihoods.BernoulliProbit(), "heteroscedastic": likelihoods.Heteroscedastic(),
    "negative_binomial": likelihoods.NegativeBinomial(3.0), "student_t": likelihoods.StudentT(0.5, 6.0),
}


def total_variance(name):
    """Cov y from the joint law of (f, y), by one product rule: no split into parts."""
    likelihood, f, rule = LIKELIHOODS[name], outputs(2, m=2), quadrature.gauss_hermite(2, 24)
    found = targets.under(f, likelihood, rule)
    for n in range(2):
        values = f.mean[n] + rule.points[rule.weights > 0] @ np.linalg.cholesky(f.covariance[n]).T
        weights, mean = rule.weights[rule.weights > 0], likelihood.mean(values)
        second = likelihood.covariance(values) + mean[:, :, None] * mean[:, None, :]  # E[yyᵀ|f]
        expected = np.einsum("j,jab->ab", weights, second) - np.outer(weights @ mean, weights @ mean)
        agree(found.value.mean[n], weights @ mean, terms=1000, condition=1e4)
        slack = found.error.aleatoric[n] + found.error.epistemic[n]
        assert (np.abs(found.value.covariance[n] - expected) <= 2 * slack + 1e-12).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_two_parts_add_up_to_the_covariance_of_the_targets(name):
    """Identity L1, Eq. (total-variance)."""
    total_variance(name)


def test_the_covariance_of_a_label_is_that_of_its_mean_probability():
    """Identity L1 for classes: diag p̄ − p̄p̄ᵀ = E[Λ] + Cov[p], whatever the spread of f."""
    f = outputs(3, width=2.0)
    integral = targets.under(f, likelihoods.Categorical(), quadrature.gauss_hermite(3, 24))
    found, p = integral.value, integral.value.mean
    agree(found.covariance, p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None, :], terms=2000)
    exact = predict.classes.probabilities(f, quadrature.trapezoid(2, 61))
    assert (np.abs(p - exact.value) <= integral.error.mean + exact.error).all()


def test_the_expected_mean_under_the_probit_link_is_its_closed_form():
    f = outputs(2)
    found = targets.under(f, likelihoods.BernoulliProbit(), quadrature.trapezoid(2, 49))
    agree(found.value.mean, binary.bernoulli_probit(f), terms=2500)


def test_the_mean_of_f_through_the_link_is_not_the_mean_of_the_targets():
    """Identity L14: before the link the predictive mean is that of f, behind it it is not (Jensen)."""
    f = outputs(1)
    assert (targets.poisson(f).mean > np.exp(f.mean)).all()
    found = targets.under(f, likelihoods.Bernoulli(), quadrature.gauss_hermite(1, 30)).value.mean
    assert (np.abs(found - 0.5) < np.abs(expit(f.mean) - 0.5)).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_without_uncertainty_of_f_only_the_noise_is_left(name):
    """Identity L18."""
    f, likelihood = outputs(2), LIKELIHOODS[name]
    found = targets.under(Moments(f.mean, 0 * f.covariance), likelihood, quadrature.gauss_hermite(2, 5)).value
    agree(found.mean, likelihood.mean(f.mean), terms=50)
    agree(found.aleatoric, likelihood.covariance(f.mean), terms=50)
    vanishes(found.epistemic, scale=1.0, terms=50)


def test_more_data_remove_the_epistemic_part_and_leave_the_aleatoric_one():
    case = Spec((2, 3, 1), likelihood="normal").build()
    linear = Linearised(case.net, at=case.theta)
    G = case.loss.ggn(case.theta)
    posteriors = [laplace.at(case.theta, case.prior.precision + copies * G) for copies in (1, 100, 10_000)]
    parts = [predict.with_noise(predict.moments(linear, q, case.X), NORMAL) for q in posteriors]
    assert all((b.epistemic < a.epistemic / 10).all() for a, b in zip(parts, parts[1:]))
    agree(parts[-1].aleatoric, parts[0].aleatoric, terms=2)


# -- draws ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "bernoulli", "categorical", "poisson"])
def test_the_unbiased_and_the_mixture_covariance_differ_by_bessels_factor(name):
    """Eq. (bessel)."""
    case = Spec((2, 3, 2), likelihood=name).build()
    thetas = case.theta + 0.3 * np.random.default_rng(0).normal(size=(5, case.net.num_params))
    mixture = predict.monte_carlo(case.net, case.likelihood, thetas, case.X_new)
    unbiased = predict.unbiased_monte_carlo(case.net, case.likelihood, thetas, case.X_new)
    agree(unbiased.epistemic, 5 / 4 * mixture.epistemic, terms=50)
    agree(unbiased.aleatoric, mixture.aleatoric, terms=5)
    agree(unbiased.mean, mixture.mean, terms=5)
    centred = [case.likelihood.mean(case.net.forward(theta, case.X_new)) - mixture.mean for theta in thetas]
    agree(mixture.epistemic, sum(c[:, :, None] * c[:, None, :] for c in centred) / 5, terms=50)


def test_the_unbiased_covariance_is_unbiased_and_the_mixture_covariance_is_short_of_one_draws_share():
    """Over all pairs of draws from a law on three θ, by enumeration."""
    case = Spec((2, 3, 1), likelihood="bernoulli").build()
    support = case.theta + np.random.default_rng(0).normal(size=(3, case.net.num_params))
    weights = np.array([0.2, 0.5, 0.3])
    p = case.likelihood.mean(case.net.forward(support, case.X_new))[..., 0]  # (3 m)
    exact = weights @ (p - weights @ p) ** 2

    def average(estimate):
        return sum(weights[i] * weights[j] * estimate(case.net, case.likelihood, support[[i, j]], case.X_new).epistemic[:, 0, 0]
                   for i in range(3) for j in range(3))

    agree(average(predict.unbiased_monte_carlo), exact, terms=50, condition=10)
    agree(average(predict.monte_carlo), exact / 2, terms=50, condition=10)


def test_the_averaged_density_is_the_quadrature_of_the_density():
    """Identity L17: (1/t) Σ p(y|f_t) → ∫ p(y|f) N(f) df = N(y; m, v + σ²)."""
    f = Moments([[0.4]], [[[0.8]]])
    z, y = np.random.default_rng(0).normal(size=(4000, 1)), np.array([[1.1]])
    density = np.exp(NORMAL.log_prob(0.4 + np.sqrt(0.8) * z[:, :, None], y))
    total = predict.with_noise(f, NORMAL).covariance[0, 0, 0]
    exact = np.exp(-0.5 * (1.1 - 0.4) ** 2 / total) / np.sqrt(2 * np.pi * total)
    mean_agrees(density, [exact], smallest_effect=0.1)
    rule = quadrature.trapezoid(1, 97)
    found = rule.integrate(lambda z: np.exp(NORMAL.log_prob(0.4 + np.sqrt(0.8) * z[:, :, None], y)))
    agree(found.value, [exact], terms=100)


def test_a_relu_network_is_not_sure_of_itself_far_away():
    """Identity L21 (Kristiadi et al. 2020): along a ray both m and √v grow in proportion to the distance, so that the confidence
    tends to σ(m/√(π v/8)) < 1, while the plug-in tends to 1."""
    net = Mlp((2, 5, 1), activations.relu)
    theta = np.random.default_rng(0).normal(size=net.num_params)
    q = laplace.at(theta, priors.isotropic(net.num_params, 2.0).precision + np.eye(net.num_params))
    direction = np.array([[0.6, -0.8]])
    far = [predict.moments(Linearised(net, at=theta), q, scale * direction) for scale in (1e4, 1e8)]
    ratios = [(f.mean / np.sqrt(f.variance)).item() for f in far]
    assert abs(ratios[0] / ratios[1] - 1) < 1e-3
    confidence = binary.probit(far[1]).item()
    assert abs(confidence - expit(ratios[1] / np.sqrt(np.pi / 8))) < 1e-6
    assert 0.001 < confidence < 0.999
    assert expit(abs(far[1].mean.item())) == 1.0


# -- errors carry over ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class WrongBy:
    """A rule whose expectation of the mean is off by just the error that it states; the rest is exact, and it says so."""

    error: float
    rule: object = quadrature.trapezoid(2, 61)
    dim = 2
    gap = 0.0

    def integrate(self, g):
        found = self.rule.integrate(g)
        wrong, stated = found.value.copy(), 0 * found.error
        wrong[:, 0] += self.error * np.array([1.0, -1.0])
        stated[:, 0] = self.error
        return quadrature.Integral(wrong, stated)


def errors_of_the_mean_carry_over():
    """Assert that the stated errors of mean and spread cover what an error of the mean does to them, and are its propagation."""
    f = outputs(2, m=3)
    exact = targets.under(f, likelihoods.Poisson(), quadrature.trapezoid(2, 61)).value
    for error in (1e-3, 0.5):
        found = targets.under(f, likelihoods.Poisson(), WrongBy(error))
        for part in ("mean", "aleatoric", "epistemic"):
            apart, stated = (np.abs(getattr(found.value, part) - getattr(exact, part)), getattr(found.error, part))
            assert (apart <= stated * (1 + 1e-9) + 1e-9 * np.abs(getattr(exact, part))).all(), part
        shift = np.abs(found.value.mean - likelihoods.Poisson().mean(f.mean))
        agree(found.error.mean, np.full((3, 2), error), terms=10)
        agree(found.error.epistemic, error * (shift[:, :, None] + shift[:, None, :]) + error**2, terms=50)


def test_an_error_of_the_mean_is_an_error_of_the_spread_too():
    errors_of_the_mean_carry_over()


# -- doors ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, message", [
    (lambda: targets.under(Moments([[195.0]], [[[1e4]]]), likelihoods.Bernoulli(), quadrature.gauss_hermite(1, 20)),
     "rule: expected points at most 0.04 apart .* standard deviation of 100, got gaps of 0.844; take trapezoid with 433 points"),
    (lambda: targets.under(Moments([[195.0]], [[[1e4]]]), likelihoods.Tempered(likelihoods.Ordinal([0.0, 1.0]), 2.0),
                           quadrature.gauss_hermite(1, 20)), "rule: expected points at most 0.04 apart"),
    (lambda: targets.under(outputs(2), NORMAL, quadrature.gauss_hermite(1, 5)), "expected one over 2 outputs, got dimension 1"),
    (lambda: targets.under(Moments(np.zeros((0, 2)), np.zeros((0, 2, 2))), NORMAL, quadrature.gauss_hermite(2, 5)),
     "moments: expected at least one input, got none"),
    (lambda: targets.heteroscedastic(outputs(3)), "expected two outputs a target, got 3"),
    (lambda: targets.poisson(Moments([[0.0]], [[[-1.0]]])), "variances that are not negative"),
    (lambda: predict.unbiased_monte_carlo(Mlp((1, 1), ()), NORMAL, np.ones((1, 2)), [[1.0]]), "at least two draws, got 1"),
    (lambda: predict.monte_carlo(Mlp((1, 1), ()), NORMAL, np.ones((0, 2)), [[1.0]]), "at least one draw, got none"),
    (lambda: predict.joint(Mlp((1, 2, 1), activations.tanh), priors.isotropic(7, 1.0), [[1.0]]), "expected a network .* linear"),
    (lambda: Joint(np.ones((3, 2)), np.ones((3, 2))), r"root: expected shape \(3, 2, r\)"),
    (lambda: Joint.from_covariance(np.ones((3, 2)), np.ones((3, 2, 3, 3))), r"covariance: expected shape \(3, 2, 3, 2\)"),
    (lambda: Joint(np.ones((3, 2)), np.ones((3, 2, 4))).from_normals(np.ones(3)), r"z: expected shape \(..., 4\)"),
    (lambda: Joint(np.ones((3, 2)), np.ones((3, 2, 4))).sample(None), "rng: expected an object with standard_normal"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_covariance_that_is_not_one_is_refused():
    with pytest.raises(NotPositiveDefinite):
        targets.under(Moments([[0.0, 0.0]], np.array([[[1.0, 2.0], [2.0, 1.0]]])), NORMAL, quadrature.gauss_hermite(2, 5))
    with pytest.raises(NotPositiveDefinite):
        Joint.from_covariance([[0.0], [0.0]], np.array([[1.0, 2.0], [2.0, 1.0]]).reshape(2, 1, 2, 1))
    with pytest.raises(ValueError, match="symmetric"):
        linalg.symmetric_root("M", np.array([[1.0, 0.5], [0.0, 1.0]]))


# -- planted faults ---------------------------------------------------------------------------------------------------------

TRUE_UNDER = targets.under
TANH = Spec((2, 5, 3), "tanh", "normal", num_data=7, prior="full", seed=1)
draws_law = lambda: test_function_draws_have_the_joint_covariance_and_are_draws_of_the_parameters.hypothesis.inner_test(TANH)  # noqa: E731,E501
joint_law = lambda: test_the_joint_covariance_is_the_loop_over_pairs_of_inputs.hypothesis.inner_test(TANH)  # noqa: E731


def parts(change):
    """Plant: the three parts of `under` go through a change, errors stay."""
    def under(moments, likelihood, rule):
        found = TRUE_UNDER(moments, likelihood, rule)
        return quadrature.Integral(TargetMoments(*change(found.value)), found.error)

    return instead(targets, "under", under)


def errors(change):
    """Plant: the errors of `under` go through a change, values stay."""
    def under(moments, likelihood, rule):
        found = TRUE_UNDER(moments, likelihood, rule)
        return quadrature.Integral(found.value, change(found.error))

    return instead(targets, "under", under)


def transposed_root(joint, mean, covariance):
    """Plant: draws through the transpose of a Cholesky factor."""
    m, k = joint.mean.shape
    L = np.linalg.cholesky(np.asarray(covariance).reshape(m * k, m * k) + 1e-12 * np.eye(m * k))
    return Joint(joint.mean, L.T.reshape(m, k, m * k))


@pytest.mark.parametrize("plant, law_of_it", [
    (errors(lambda e: TargetMoments(0 * e.mean, e.aleatoric, e.epistemic)), errors_of_the_mean_carry_over),
    (errors(lambda e: TargetMoments(e.mean, e.aleatoric, 0 * e.epistemic)), errors_of_the_mean_carry_over),
    (errors(lambda e: TargetMoments(e.mean, e.aleatoric, e.epistemic - e.mean[:, :, None] * e.mean[:, None, :])),
     errors_of_the_mean_carry_over),
    (after(predict.functions, "_half", lambda half, net, q, X: q.precision.scale_matvec(net.jacobian(q.mean, X))), joint_law),
    (instead(Joint, "from_normals", lambda self, z: self.mean + np.einsum(
        "ikr,...r->...ik", self.root[::-1], z)), draws_law),
    (instead(Joint, "from_covariance", lambda mean, C: transposed_root(Joint(mean, np.zeros((*np.shape(mean), 1))), mean, C)),
     test_function_draws_from_a_given_covariance_have_it),
    (instead(Joint, "marginals", lambda self: Moments(self.mean, self.root @ np.swapaxes(self.root, 1, 2) + 0.37)), joint_law),
    (after(predict, "with_noise", lambda t, *_: TargetMoments(t.mean, 0 * t.aleatoric, t.epistemic)),
     test_the_noisy_prediction_is_the_law_of_the_targets),
    (after(predict, "with_noise", lambda t, *_: TargetMoments(t.mean, np.sqrt(t.aleatoric), t.epistemic)),
     test_the_noisy_prediction_is_the_law_of_the_targets),
    (parts(lambda t: (t.mean, t.epistemic, t.aleatoric)), lambda: test_closed_forms_are_what_quadrature_finds("poisson")),
    (parts(lambda t: (t.mean, t.aleatoric, 0 * t.epistemic)), lambda: total_variance("bernoulli")),
    (parts(lambda t: (t.mean, t.aleatoric, t.epistemic * np.eye(2))), lambda: total_variance("poisson")),
    (instead(targets, "poisson", lambda f: TargetMoments(np.exp(f.mean), np.exp(f.mean)[:, :, None] * np.eye(2), f.covariance)),
     lambda: test_closed_forms_are_what_quadrature_finds("poisson")),
    (after(predict, "unbiased_monte_carlo", lambda t, *_: TargetMoments(t.mean, t.aleatoric, t.epistemic / 2)),
     test_the_unbiased_covariance_is_unbiased_and_the_mixture_covariance_is_short_of_one_draws_share),
    (instead(binary, "bernoulli_probit", lambda f: ndtr(f.mean / np.sqrt(1 + np.sqrt(f.variance)))),
     test_the_expected_mean_under_the_probit_link_is_its_closed_form),
], ids=["error of the mean dropped", "error of the spread dropped", "square of the error dropped", "L for Lᵀ in J C",
        "draws at other inputs", "Lᵀ for L in draws", "noise in the marginals", "missing noise",
        "std of the noise for its variance", "parts exchanged", "spread forgotten", "covariances between outputs dropped",
        "plug-in rate", "divided by t", "std for variance in the probit integral"])
def test_a_planted_fault_is_caught(plant, law_of_it, monkeypatch):
    law_of_it()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        law_of_it()


def test_targets_of_a_heteroscedastic_model_covary_as_their_means_do():
    """Two targets of an input: means are outputs 0 and 2, log variances 1 and 3."""
    at = outputs(4)
    found = targets.heteroscedastic(at)
    means, logs = [0, 2], [1, 3]
    noise = np.exp(at.mean[:, logs] + 0.5 * np.diagonal(at.covariance, axis1=1, axis2=2)[:, logs])
    agree(found.epistemic, at.covariance[:, means][:, :, means], terms=1)
    agree(found.aleatoric, noise[:, :, None] * np.eye(2), terms=4)
