"""Laws of every likelihood: derivatives of its density, total probability, Bartlett's identities, moments, blocks, samplers.

Each law is a function of a likelihood and its row in `families`; the tests run it on the package, and on planted faults, which it
must reject.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from refbnn import likelihoods
from refbnn.testing import tolerance
from tests.judge import agree, mean_agrees
from tests.likelihoods.families import FAMILIES, FREEDOM, SCALE, Family, polydisc_derivatives

NUM_DATA, RADIUS = 7, 0.25
JOINT = ("normal_full", "heteroscedastic_full")  # several dependent targets
DISCRETE = [name for name, family in FAMILIES.items() if not family.continuous]
ONE_TARGET_DENSITIES = [name for name, family in FAMILIES.items() if family.continuous and name not in JOINT]
STACKABLE = [name for name in FAMILIES if name not in (*JOINT, "categorical")]


def problem(family: Family, seed: int = 5):
    """Outputs f (n k) and targets y of a row."""
    rng = np.random.default_rng(seed)
    return family.outputs(rng, NUM_DATA), family.targets(rng, NUM_DATA)


def everywhere(likelihood, f):
    """Every outcome y_j with its weight, and f repeated for each: methods of f and y may be called on (f, y)."""
    y, weights = likelihood.outcomes(f)
    return np.broadcast_to(f, (len(weights), *f.shape)), y, weights


def expectation(weights, values):
    """Σ_j w_j g(y_j), and the sum of the absolute values, which is the scale of its round-off."""
    terms = weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim)) * values
    return terms.sum(0), np.abs(terms).sum(0).max() or 1.0


def moved(y, size):
    """The targets of `outcomes` as what `mean` is the mean of: one-hot rows for class labels."""
    return np.eye(size)[y] if y.dtype.kind == "i" else y


# -- the laws ---------------------------------------------------------------------------------------------------------------


def the_derivatives_are_those_of_the_density(likelihood, family):
    """ℓ, r, Λ, T (all its entries) against the Taylor coefficients of the density written plainly, by Cauchy's integral."""
    f, y = problem(family)
    k = f.shape[-1]
    if k > 3:  # a circle an output: two data are work enough
        f, y = f[:2], y[:2]
    spread = y.reshape(len(y), *[1] * k, *y.shape[1:])
    found = (-likelihood.log_prob(f, y), likelihood.residual(f, y), likelihood.curvature(f, y), likelihood.third(f, y))
    taylor = polydisc_derivatives(lambda z: -family.log_density(z, spread), f, range(4), RADIUS, family.circle)
    for order, (value, (expected, bound)) in enumerate(zip(found, taylor)):
        assert value.shape == expected.shape
        assert np.abs(value - expected).max() <= bound, (order, np.abs(value - expected).max(), bound)


def the_total_probability_is_one(likelihood, family):
    """Σ_y p(y|f) = 1, p from log_prob; densities by a double-exponential rule, whose error is below round-off (checked below)."""
    f, _ = problem(family)
    if not family.continuous:
        fs, y, _ = everywhere(likelihood, f)
        total = np.exp(likelihood.log_prob(fs, y)).sum(0)
        agree(total, np.ones(NUM_DATA), terms=len(y))
        return
    positive = (family.targets(np.random.default_rng(0), 20) > 0).all()
    y, cells = double_exponential_rule(positive)
    total = cells @ np.exp(likelihood.log_prob(f, np.broadcast_to(y[:, None, None], (len(y), NUM_DATA, 1))))
    agree(total, np.ones(NUM_DATA), terms=len(y))


def double_exponential_rule(positive, step=1 / 24):
    """Points and cells for ∫ g(y) dy over the line, y = sinh(½π sinh t), or the half line, y = exp(½π sinh t), t trapezoidal."""
    t = np.arange(-5.2, 5.2, step)
    inner, slope = np.pi / 2 * np.sinh(t), np.pi / 2 * np.cosh(t)
    return (np.exp(inner), step * slope * np.exp(inner)) if positive else (np.sinh(inner), step * slope * np.cosh(inner))


def the_weights_are_the_probabilities(likelihood, family):
    """The weights of `outcomes` sum to one; where targets are counted they are p(y|f)."""
    fs, y, weights = everywhere(likelihood, problem(family)[0])
    agree(weights.sum(0), np.ones(NUM_DATA), terms=len(weights))
    if not family.continuous:
        agree(weights, np.exp(likelihood.log_prob(fs, y)), terms=10)


def the_expected_residual_is_zero(likelihood, family):
    """E[r] = 0 (Bartlett 1). Eq. (bartlett-1)."""
    fs, y, weights = everywhere(likelihood, problem(family)[0])
    value, scale = expectation(weights, likelihood.residual(fs, y))
    agree(value, np.zeros_like(value), terms=len(weights), scale=scale)


def the_fisher_matrix_is_the_expected_curvature_and_the_expected_square_of_the_residual(likelihood, family):
    """E[Λ] = F = E[r rᵀ] (Bartlett 2). Eq. (bartlett-2)."""
    f, _ = problem(family)
    fs, y, weights = everywhere(likelihood, f)
    r = likelihood.residual(fs, y)
    for values in (likelihood.curvature(fs, y), r[..., :, None] * r[..., None, :]):
        value, scale = expectation(weights, values)
        agree(value, likelihood.fisher(f), terms=len(weights), scale=scale)


def the_third_derivatives_obey_bartletts_third_identity(likelihood, family):
    """E[T_abc] = E[Λ_ab r_c + Λ_ac r_b + Λ_bc r_a] − E[r_a r_b r_c] (Bartlett 3). Eq. (bartlett-3)."""
    fs, y, weights = everywhere(likelihood, problem(family)[0])
    r, bend, T = likelihood.residual(fs, y), likelihood.curvature(fs, y), likelihood.third(fs, y)
    mixed = np.einsum("...ab,...c->...abc", bend, r)
    mixed = mixed + np.swapaxes(mixed, -1, -2) + np.moveaxis(mixed, -1, -3)
    cubes = np.einsum("...a,...b,...c->...abc", r, r, r)
    value, scale = expectation(weights, T - mixed + cubes)
    agree(value, np.zeros_like(value), terms=len(weights), scale=scale)


def mean_and_covariance_are_those_of_the_outcomes(likelihood, family):
    """mean(f) = E[y], covariance(f) = Cov[y]."""
    f, _ = problem(family)
    _, y, weights = everywhere(likelihood, f)
    y = moved(y, f.shape[-1])
    mean, scale = expectation(weights, y)
    agree(likelihood.mean(f), mean, terms=len(weights), scale=scale)
    centred = y - mean
    covariance, scale = expectation(weights, centred[..., :, None] * centred[..., None, :])
    agree(likelihood.covariance(f), covariance, terms=len(weights), scale=scale)


def the_factor_is_a_root_of_the_curvature_or_is_refused(likelihood, family):
    """S Sᵀ = Λ at every datum where Λ is positive semi-definite; elsewhere a ValueError that names the datum."""
    f, y = problem(family)
    bend = likelihood.curvature(f, y)
    values = np.linalg.eigvalsh(bend)
    indefinite = values[:, 0] < -tolerance(10) * np.abs(values).max(-1)
    for i in range(NUM_DATA):
        one = slice(i, i + 1)
        if indefinite[i]:
            with pytest.raises(ValueError, match="datum 0, target 0.*Use fisher"):
                likelihood.factor(f[one], y[one])
            continue
        S = likelihood.factor(f[one], y[one])
        agree(S @ np.swapaxes(S, -1, -2), bend[one], terms=10)
    assert indefinite.any() != family.definite, "the row says whether Λ can be indefinite"


def leading_axes_are_loops(likelihood, family):
    """Every method on (2 3 n k) equals the method on each (n k)."""
    rng = np.random.default_rng(11)
    fs = np.array([[family.outputs(rng, NUM_DATA) for _ in range(3)] for _ in range(2)])
    _, y = problem(family)
    for method, arguments in [(likelihood.log_prob, (y,)), (likelihood.residual, (y,)), (likelihood.curvature, (y,)),
                              (likelihood.third, (y,)), (likelihood.fisher, ())] + family.moments * [
                              (likelihood.mean, ()), (likelihood.covariance, ())]:
        together = method(fs, *arguments)
        looped = np.array([[method(fs[i, j], *arguments) for j in range(3)] for i in range(2)])
        agree(together, looped, terms=100, scale=np.linalg.norm(looped) or 1.0)


def several_targets_are_blocks(likelihood, family):
    """Three targets: log_prob is the sum and r, Λ, T, F the blocks of those of single targets; nothing between targets.

    Eqs. (independent-outputs) and (paired-outputs).
    """
    parts = [problem(family, seed) for seed in (1, 2, 3)]
    f, y = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts))
    k = parts[0][0].shape[-1]
    agree(likelihood.log_prob(f, y), sum(likelihood.log_prob(*part) for part in parts), terms=100)
    for method in (likelihood.residual, likelihood.curvature, likelihood.third, lambda f, y: likelihood.fisher(f)):
        whole = method(f, y)
        expected = np.zeros_like(whole)
        for t, part in enumerate(parts):
            own = slice(t * k, (t + 1) * k)
            expected[(..., *[own] * (whole.ndim - 1))] = method(*part)
        agree(whole, expected, terms=100, scale=np.linalg.norm(expected) or 1.0)


def the_sampler_draws_from_the_density(likelihood, family):
    """E[r] = 0, E[r rᵀ] = F over draws, and the moments of y: z-tests with a false-alarm rate of 1e-6 for the whole test."""
    rng = np.random.default_rng(17)
    f = np.repeat(problem(family)[0][:2, None], 80_000, axis=1)
    y = likelihood.sample(f, rng)
    r = likelihood.residual(f, y).swapaxes(0, 1)
    statistics, expected = [r], [np.zeros(r.shape[1:])]
    statistics.append(np.einsum("sna,snb->snab", r, r))
    expected.append(likelihood.fisher(f[:, 0]))
    if family.moments:
        coded = moved(y, f.shape[-1]).swapaxes(0, 1)
        centred = coded - likelihood.mean(f[:, 0])
        statistics += [centred, np.einsum("sna,snb->snab", centred, centred)]
        expected += [np.zeros(centred.shape[1:]), likelihood.covariance(f[:, 0])]
    samples = np.concatenate([part.reshape(len(part), -1) for part in statistics], axis=1)
    target = np.concatenate([np.ravel(part) for part in expected])
    spread = samples.std(0, ddof=1)
    spread = np.where(spread > 0, spread, 1.0)
    mean_agrees(samples / spread, target / spread, smallest_effect=0.06)  # in standard deviations of each statistic


# -- on the package ---------------------------------------------------------------------------------------------------------

LAWS = {
    "derivatives": (the_derivatives_are_those_of_the_density, list(FAMILIES)),
    "probability": (the_total_probability_is_one, DISCRETE + ONE_TARGET_DENSITIES),
    "weights": (the_weights_are_the_probabilities, list(FAMILIES)),
    "bartlett-1": (the_expected_residual_is_zero, list(FAMILIES)),
    "bartlett-2": (the_fisher_matrix_is_the_expected_curvature_and_the_expected_square_of_the_residual, list(FAMILIES)),
    "bartlett-3": (the_third_derivatives_obey_bartletts_third_identity, list(FAMILIES)),
    "moments": (mean_and_covariance_are_those_of_the_outcomes, [n for n in FAMILIES if FAMILIES[n].moments]),
    "factor": (the_factor_is_a_root_of_the_curvature_or_is_refused, list(FAMILIES)),
    "batches": (leading_axes_are_loops, list(FAMILIES)),
    "blocks": (several_targets_are_blocks, STACKABLE),
    "sampler": (the_sampler_draws_from_the_density, list(FAMILIES)),
}


@pytest.mark.parametrize("law, name", [(law, name) for law, (_, names) in LAWS.items() for name in names])
def test_the_law_holds(law, name):
    """On every family.

    Eqs. (normal), (normal-full), (heteroscedastic), (heteroscedastic-full), (heteroscedastic-natural),
    (heteroscedastic-precision), (bernoulli), (bernoulli-probit), (bernoulli-cloglog), (categorical), (ordinal), (poisson),
    (poisson-softplus), (poisson-square), (negative-binomial), (negative-binomial-dispersion), (student-t),
    (student-t-scale), (gamma) and (gamma-shape).
    """
    LAWS[law][0](FAMILIES[name].likelihood, FAMILIES[name])


@pytest.mark.parametrize("positive", [False, True])
def test_the_double_exponential_rule_integrates_known_densities(positive):
    y, cells = double_exponential_rule(positive)
    exact = np.exp(-y) * y**0.7 / 0.9086387328532904 if positive else 2 / np.pi / (1 + y**2) ** 2  # Γ(1.7)
    agree(cells @ exact, 1.0, terms=len(y))


def test_every_exported_likelihood_has_a_row():
    own = {type(family.likelihood).__name__ for family in FAMILIES.values()}
    assert own == set(likelihoods.__all__) - {"Tempered"}, "Tempered wraps another one and has its own tests"


# -- on planted faults ------------------------------------------------------------------------------------------------------


class Planted:
    """A likelihood with one method replaced."""

    def __init__(self, likelihood, method, replacement):
        self._likelihood, self._method, self._replacement = likelihood, method, replacement

    def __getattr__(self, name):
        if name == self._method:
            return self._replacement(self._likelihood)
        return getattr(self._likelihood, name)


def scaled(method, factor):
    """The fault: the method's result times a factor."""
    return method, lambda likelihood: lambda *arguments: factor * getattr(likelihood, method)(*arguments)


def shifted(method, shift):
    """The fault: a constant added to the method's result."""
    return method, lambda likelihood: lambda *arguments: getattr(likelihood, method)(*arguments) + shift


def wrong_weights(likelihood):
    """The fault: all outcomes equally likely."""
    def outcomes(f):
        y, weights = likelihood.outcomes(f)
        return y, np.full_like(weights, 1 / len(weights))
    return outcomes


def first_of_the_batch(likelihood):
    """The fault: the first draw's curvature for every draw."""
    def curvature(f, y):
        value = likelihood.curvature(f, y)
        return value if f.ndim == 2 else np.broadcast_to(value[:1, :1], value.shape)
    return curvature


def stacked_halves(likelihood):
    """The fault: outputs ordered (a_1, a_2, ..., b_1, b_2, ...) instead of interleaved."""
    def residual(f, y):
        order = np.concatenate([np.arange(0, f.shape[-1], 2), np.arange(1, f.shape[-1], 2)])
        return likelihood.residual(f, y)[..., order]
    return residual


def displaced(likelihood):
    """The fault: every draw is taken at other outputs, the first moved by 0.1 and the last by 0.2."""
    return lambda f, rng: likelihood.sample(f + np.linspace(0.1, 0.2, f.shape[-1]), rng)


def curvature_as_fisher(likelihood):
    """The fault: Λ observed at a typical y in place of the exact Fisher matrix."""
    def fisher(f):
        fs, y, weights = everywhere(likelihood, f)
        return likelihood.curvature(f, y[len(y) // 3])
    return fisher


def absolute_factor(likelihood):
    """The fault: a root of |Λ|, without complaint."""
    def factor(f, y):
        values, vectors = np.linalg.eigh(likelihood.curvature(f, y))
        return vectors * np.sqrt(np.abs(values))[..., None, :]
    return factor


FAULTS = [
    *[("derivatives", name, scaled(method, -1)) for name in ("bernoulli_probit", "heteroscedastic_gamma")
      for method in ("residual", "third")],
    *[("derivatives", name, shifted("log_prob", 1e-9)) for name in FAMILIES],
    *[("derivatives", name, scaled("third", 1 + 1e-9)) for name in FAMILIES if name not in ("normal", "normal_full")],
    *[("derivatives", name, scaled("curvature", 1 + 1e-9)) for name in FAMILIES],
    *[("probability", name, shifted("log_prob", 1e-9)) for name in DISCRETE + ONE_TARGET_DENSITIES],
    *[("weights", name, ("outcomes", wrong_weights)) for name in ("poisson_softplus", "ordinal", "categorical")],
    *[("bartlett-1", name, shifted("residual", 1e-10)) for name in FAMILIES],
    *[("bartlett-2", name, scaled("fisher", 1 + 1e-9)) for name in FAMILIES],
    *[("bartlett-2", name, ("fisher", curvature_as_fisher)) for name in (
        "bernoulli_probit", "bernoulli_cloglog", "student_t", "heteroscedastic", "negative_binomial", "poisson_square", "gamma")],
    *[("bartlett-3", name, scaled("third", -1)) for name in (
        "bernoulli_cloglog", "poisson_square", "heteroscedastic_natural", "heteroscedastic_negative_binomial", "gamma")],
    *[("moments", name, scaled("covariance", 1 + 1e-9)) for name in FAMILIES if FAMILIES[name].moments],
    *[("factor", name, ("factor", absolute_factor)) for name in FAMILIES if not FAMILIES[name].definite],
    *[("factor", name, scaled("factor", 1 + 1e-9)) for name in FAMILIES if FAMILIES[name].definite],
    *[("batches", name, ("curvature", first_of_the_batch)) for name in ("student_t", "ordinal", "heteroscedastic")],
    *[("blocks", name, ("residual", stacked_halves)) for name in STACKABLE if name.startswith("heteroscedastic")],
    *[("sampler", name, ("sample", displaced)) for name in FAMILIES],
]


@pytest.mark.parametrize("law, name, fault", FAULTS, ids=[f"{law}-{name}-{fault[0]}" for law, name, fault in FAULTS])
def test_a_planted_fault_breaks_the_law(law, name, fault):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        LAWS[law][0](Planted(FAMILIES[name].likelihood, *fault), FAMILIES[name])


def test_a_mutant_of_every_law_is_planted():
    assert {law for law, _, _ in FAULTS} == set(LAWS)


def test_another_parameter_is_another_density():
    wrong = dataclasses.replace(FAMILIES["student_t"].likelihood, degrees_of_freedom=FREEDOM / (FREEDOM - 2) * SCALE)
    with pytest.raises(AssertionError):
        the_derivatives_are_those_of_the_density(wrong, FAMILIES["student_t"])
