"""Sticking the landing: where q is the posterior, the gradient of each single draw is zero. Here both are N(0, I)."""
import warnings

import torch

warnings.simplefilter("ignore")
from posteriors import vi  # noqa: E402
from posteriors.utils import L_to_flat  # noqa: E402


def log_posterior(params, batch):
    return -0.5 * params["w"] @ params["w"], torch.tensor([])


torch.manual_seed(0)
mean = {"w": torch.zeros(2, requires_grad=True)}
widths, root = {"w": torch.ones(2)}, L_to_flat(torch.eye(2))
vi.diag.nelbo(mean, widths, None, log_posterior, stl=True)[0].backward()
diagonal, mean["w"].grad = mean["w"].grad, None
vi.dense.nelbo(mean, root, None, log_posterior, stl=True)[0].backward()
print("gradient in the mean, one draw each: vi.diag", [abs(x) for x in diagonal.tolist()], "vi.dense", mean["w"].grad.tolist())
print("RIGHT" if mean["w"].grad.abs().max() < 1e-6 else "WRONG")
