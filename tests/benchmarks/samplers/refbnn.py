"""refbnn: HMC on the logistic regression, whose covariance is its metric; HMC on the network, with short trajectories.

Short because f, which is what is looked at, forgets sooner than θ: with 50 steps a draw is worth 0.36 independent ones, with 100
steps 0.60, which is less a step. On the logistic regression 3 steps with little jitter throw every draw to the other side of the
mean at the same distance from it: averages of θ are worth three times as many draws, those of its spread next to nothing.
"""

import sys
import time

import numpy as np

from refbnn import Mlp, Posterior, activations, likelihoods, priors
from refbnn.precision import Diagonal
from refbnn.samplers import Hmc, adapt, adaptation, run
from tests.benchmarks.draws import CHAINS, NEW, data

problem, file = sys.argv[1:]
X, y = data(problem)
net, likelihood, num_steps, jitter, num_draws, metric = {
    "logistic": (Mlp((25, 1), ()), likelihoods.Bernoulli(), 3, 0.5, 600, adaptation.dense),
    "network": (Mlp((1, 50, 1), activations.tanh), likelihoods.Normal(0.09), 50, 0.2, 600, adaptation.diagonal),
}[problem]
p = net.num_params
post = Posterior(net, likelihood, priors.isotropic(p, 1.0), X, y)
start = 0.1 * np.random.default_rng(0).standard_normal((CHAINS, p))
tuned = adapt(Hmc(0.01, num_steps, Diagonal(np.ones(p)), jitter), post, start, 300, 1, metric=metric)
began = time.process_time()
drawn = run(tuned.kernel, post, tuned.theta, num_draws, 1, width=CHAINS)
seconds = time.process_time() - began
monitored = drawn.draws if problem == "logistic" else net.forward(drawn.draws, NEW)[..., 0]
np.savez(file, monitored=monitored, seconds=seconds)
