"""Laws of every posterior, held against draws: of a clean sampler on real data, of faulty ones, and against plain formulas.

False alarms: at most 10⁻⁶ for each audit of a clean sampler, three in this file.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_iris

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from refbnn import audit as module
from refbnn.precision import Diagonal
from refbnn.samplers import Hmc, Streams
from refbnn.testing import Audit, Law, audit

LAM = 1.3


@cache
def irises():
    """Thirty irises in three species by two measurements; a rectified network with 15 parameters."""
    raw, y = load_iris(return_X_y=True)
    X = (raw[::5, 2:] - raw[::5, 2:].mean(0)) / raw[::5, 2:].std(0)
    net = Mlp((2, 2, 3), activations.relu)
    return Posterior(net, likelihoods.Categorical(), priors.isotropic(net.num_params, LAM), X, y[::5])


def run(target, kernel, start, num_updates):
    """θ after each update (c t p), and whether it was accepted (c t)."""
    streams, kept = Streams.spawn(3, len(start)), []
    state = kernel.init(target, start)
    for _ in range(num_updates):
        state, info = kernel.step(target, state, streams)
        kept.append((state.theta, info.accepted))
    return np.stack([theta for theta, _ in kept], 1), np.stack([accepted for _, accepted in kept], 1)


@cache
def sampled(fault="none"):
    """300 draws of 24 chains that start at the prior and are warmed up, for the posterior or one mistaken for it."""
    post = irises()
    target = {"none": post, "temperature": post.tempered(0.5),
              "prior": Posterior(post.net, post.likelihood, priors.isotropic(15, 0.4 * LAM), post.X, post.y),
              "precision": Posterior(post.net, post.likelihood, priors.isotropic(15, 1.25 * LAM), post.X, post.y)}[fault]
    start = post.prior.sample(np.random.default_rng(3), (24,))
    return run(target, Hmc(0.13, 10, Diagonal(np.ones(15))), start, 400)[0][:, 100:]


def accepted_alone():
    """Chains that start at clean draws with long steps, a quarter of them accepted, and only those kept."""
    start = sampled()[:, [0, 75, 150, 225]].reshape(-1, 15)
    draws, accepted = run(irises(), Hmc(0.35, 2, Diagonal(np.ones(15))), start, 600)
    chains = [chain[moved] for chain, moved in zip(draws, accepted)]
    shortest = sorted(map(len, chains))[len(chains) // 10]
    return np.stack([chain[:shortest] for chain in chains if len(chain) >= shortest])


def test_the_spread_of_shifts_under_a_dense_prior_is_that_of_the_prior():
    """Eq. (shift) without data that could be seen: draws of a prior with a dense precision, v·∇log p is N(0, vᵀP₀v), for each v;
    a false alarm in 10⁸ for each of six laws."""
    post = irises()
    root = np.random.default_rng(2).normal(size=(15, 15))
    prior = priors.full(root @ root.T + np.eye(15), np.linspace(-1, 1, 15))
    draws = prior.sample(np.random.default_rng(4), (5, 2000))
    laws = module.shifts(Posterior(post.net, post.likelihood, prior, post.X, post.y), draws)
    assert len(laws) == 2 * 3
    for name, values in laws.items():
        assert abs(values.mean()) < 5.7 * values.std() / 100, name


def test_a_clean_sampler_on_real_data_obeys_every_law():
    """Eqs. (virial-laws), (posterior-conservation) and (shift). It would have seen the virial off by 2 of 15."""
    found = audit(irises(), sampled())
    assert found.passed and len(found.laws) == 15 + 15 + 1 + 2 + 6
    assert str(found) == "39 laws, 0 broken, 0 undecided"
    assert next(law for law in found.laws if law.name == "virial").visible < 2


@pytest.mark.parametrize("fault", ["prior", "temperature", "precision"])
def test_a_sampler_of_another_density_is_found_out_on_real_data(fault):
    """Most of the prior forgotten, the likelihood at another temperature, a prior precision off by a quarter."""
    found = audit(irises(), sampled(fault))
    assert found.broken and "BROKEN" in str(found)


def test_a_sampler_that_drops_rejected_states_is_found_out_on_real_data():
    """What is left is the posterior times the probability of being accepted."""
    assert audit(irises(), accepted_alone()).broken


def test_the_laws_of_shifts_alone_find_a_wrong_prior_precision():
    """E[g²] = vᵀP₀v + ... with a precision 1.25 times too large g has 0.8 of its variance."""
    found = Audit(module._judged(module.shifts(irises(), sampled("precision")), 1e-6), 1e-6)
    assert {law.name for law in found.broken} == {f"spread of shift, {i}" for i in range(3)}


# -- laws against plain formulas --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [activations.relu, activations.leaky_relu(0.1), activations.identity])
@pytest.mark.parametrize("bias", [True, False])
def test_the_generators_are_those_of_what_the_network_does_not_see(activation, bias):
    """∇loss·Xθ = 0 for every X, Eq. (generator): with the loss in place of the prior only −tr X is left."""
    net, rng = Mlp((2, 3, 2, 3), activation, bias=bias), np.random.default_rng(0)
    post = Posterior(net, likelihoods.Poisson(), priors.isotropic(net.num_params, LAM), rng.normal(size=(7, 2)),
                     rng.poisson(2.0, (7, 3)))
    draws = 0.5 * rng.normal(size=(2, 5, net.num_params))
    laws = module.scaling(SimpleNamespace(net=net, prior=SimpleNamespace(gradient=lambda t: -post.loss.gradient(t))), draws)
    assert len(laws) == (9 + 4 if activation.odd else 3 + 2)
    traces = {1: 2 + bias - 2, 2: 3 + bias - 3}
    size = np.abs(post.loss.gradient(draws) * draws).sum(-1).max()
    for name, values in laws.items():
        layer, (i, j) = int(name.split()[3][0]), name.split(", ")[1].split()
        assert np.abs(values + traces[layer] * (i == j)).max() < 1e-13 * size


def test_the_law_of_a_rectified_unit_is_that_of_its_incoming_and_outgoing_weights():
    """λ(‖in‖² − ‖out‖²) − (n_in − n_out), the bias counted as incoming."""
    draws = np.random.default_rng(1).normal(size=(2, 5, 15))
    laws = module.scaling(irises(), draws)
    (W, b), (V, _) = irises().net.unflatten(draws[1, 3])
    for i in range(2):
        plain = LAM * (sum(W[i]**2) + b[i]**2 - sum(V[:, i]**2)) - (3 - 3)
        assert abs(laws[f"scaling of layer 1, {i} {i}"][1, 3] - plain) < 1e-13


@pytest.mark.parametrize("hidden", [(3,), (5, 3), (2, 5, 3)])
def test_outputs_are_shifted_by_the_last_layer_however_many_there_are(hidden):
    """g = v·∇log p(θ) for the direction v that adds to the weights from one unit of the last hidden layer, or to the biases."""
    net, rng = Mlp((2, *hidden, 2), activations.tanh), np.random.default_rng(7)
    X, draws = rng.normal(size=(7, 2)), rng.normal(size=(2, 5, net.num_params))
    posterior = Posterior(net, likelihoods.Categorical(), priors.isotropic(net.num_params, LAM), X, rng.integers(0, 2, 7))
    laws = module.shifts(posterior, draws)
    W, b = net.unflatten(draws[1, 3])[-1]
    for name, moved in enumerate([*W.T, b]):
        assert abs(laws[f"shift of outputs, {name}"][1, 3] + LAM * sum(moved)) < 1e-13
    assert len(laws) == 2 * (hidden[-1] + 1)


def test_smooth_networks_and_other_likelihoods_have_fewer_laws():
    net, rng = Mlp((2, 3, 2), activations.tanh), np.random.default_rng(0)
    prior, X = priors.isotropic(net.num_params, LAM), rng.normal(size=(7, 2))
    draws = rng.normal(size=(2, 5, net.num_params))
    plain = Posterior(net, likelihoods.Normal(0.3), prior, X, rng.normal(size=(7, 2)))
    assert module.scaling(plain, draws) == {} and module.shifts(plain, draws) == {}
    labels = Posterior(net, likelihoods.Categorical(), prior, X, rng.integers(0, 2, 7))
    assert len(module.shifts(labels, draws)) == 2 * 4
    heavy = Posterior(net, likelihoods.Categorical(), priors.StudentT(net.num_params, 1.0, 5.0), X, rng.integers(0, 2, 7))
    assert list(module.shifts(heavy, draws)) == [f"shift of outputs, {i}" for i in range(4)]


def test_a_density_of_ones_own_is_audited_by_the_virial_alone():
    """Independent draws of a dense Gaussian: an object with num_params and value_and_gradient is enough."""
    A = np.array([[2.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 0.7]])
    q = priors.full(A, mean=np.array([0.5, -1.0, 2.0]))
    target = SimpleNamespace(num_params=3, value_and_gradient=lambda t: (q.log_prob(t), q.gradient(t)))
    draws = q.sample(np.random.default_rng(0), (4, 1000))
    assert audit(target, draws).passed
    assert audit(target, 1.1 * draws).broken


def test_z_scores_of_true_laws_have_variance_one():
    """500 audits of 2·50 independent draws of N(0, 1), whose law E[θ²] = 1 has heavier tails than a normal: ±5√(2·3/500)."""
    target = SimpleNamespace(num_params=1, value_and_gradient=lambda t: (-0.5 * t[..., 0]**2, -t))
    rng = np.random.default_rng(2)
    z = [law.z for _ in range(500) for law in audit(target, rng.normal(size=(2, 200, 1))).laws[:2]]
    assert abs(np.mean(np.square(z)) - 1) < 5 * np.sqrt(6 / 500)


# -- verdicts ---------------------------------------------------------------------------------------------------------------


def law(p_value, size=1000.0):
    return Law("law", 1.0, 0.5, size, 4.0, p_value)


def test_holm_rejects_while_each_p_value_is_below_its_own_level():
    """Three laws at 0.06: levels 0.02, 0.03, 0.06."""
    assert [each.p_value for each in Audit((law(0.025), law(0.01), law(0.5)), 0.06).broken] == [0.01, 0.025]
    assert Audit((law(0.025), law(0.021), law(0.5)), 0.06).broken == ()
    assert len(Audit((law(0.01), law(0.01), law(0.01)), 0.06).broken) == 3


def test_too_few_effective_draws_decide_nothing():
    found = Audit((law(1e-20, 99.0), law(0.5)), 1e-6)
    assert found.broken == () and len(found.undecided) == 1 and not found.passed and "UNDECIDED" in str(found)
    assert Audit((law(0.5, np.nan),), 1e-6).undecided and law(0.5).z == 2.0


def test_draws_that_stand_still_are_undecided():
    still = np.broadcast_to(np.ones(15), (2, 50, 15))
    assert not audit(irises(), still).passed and len(audit(irises(), still).undecided) == 39


@pytest.mark.parametrize("call, message", [
    (lambda: audit(irises(), np.ones((2, 5, 3))), "draws: expected shape"),
    (lambda: audit(irises(), np.ones((5, 15))), "draws: expected shape"),
    (lambda: audit(irises(), np.ones((2, 5, 15)), false_alarm=0.0), "false_alarm: expected a probability"),
    (lambda: audit(object(), np.ones((2, 5, 15))), "posterior: expected an object with num_params"),
])
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- planted faults ---------------------------------------------------------------------------------------------------------


def without_trace(posterior, draws):
    """The law of rectified units for as many weights in as out."""
    return {name: values + 3 for name, values in TRUE(posterior, draws).items()}


TRUE = module.scaling


@pytest.mark.parametrize("name, fault", [
    ("scaling", without_trace),
    ("scaling", lambda post, draws: {name: 2 * values + 1 for name, values in TRUE(post, draws).items()}),
    ("virial", lambda target, draws: {"virial": (draws * target.value_and_gradient(draws)[1] - 1).sum(-1)}),
    ("mcse_mean", lambda values: values.reshape(-1, values.shape[-1]).std(0) / values[..., 0].size),
])
def test_a_wrong_law_is_broken_by_the_clean_sampler(name, fault, monkeypatch):
    monkeypatch.setattr(module, name, fault)
    assert audit(irises(), sampled()).broken
