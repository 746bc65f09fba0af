"""One parameter, a datum y = 1 of N(θ, 1), prior N(½, 1): an update must leave the variance 1/(1 + g²), g the score."""
import warnings

import torch

warnings.simplefilter("ignore")
from posteriors import ekf  # noqa: E402


def log_likelihood(params, batch):
    return -0.5 * (batch - params["w"]) ** 2, torch.tensor([])


params, batch = {"w": torch.tensor([0.5])}, torch.tensor([1.0])
diagonal = ekf.diag_fisher.build(log_likelihood, lr=1.0, per_sample=True)
dense = ekf.dense_fisher.build(log_likelihood, lr=1.0, per_sample=True)
variance = [diagonal.update(diagonal.init(params), batch)[0].sd_diag["w"].item() ** 2,
            dense.update(dense.init(params), batch)[0].cov.item()]
print(f"variance after one datum: diag_fisher {variance[0]:.4f}, dense_fisher {variance[1]:.4f}, right is {1 / 1.25:.4f}")
print("RIGHT" if abs(variance[1] - 0.8) < 1e-6 else "WRONG")
