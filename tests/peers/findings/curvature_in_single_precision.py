"""How many digits has the default full GGN of a float64 model, and what does the posterior make of it?

For the linear model f = w·x the GGN is Σ x xᵀ; the two inputs are nearly collinear, the prior is weak.
"""
import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset


def distance(seen, right):
    return float((seen - right).norm() / right.norm())


X, y = torch.tensor([[0.1, 0.1], [0.3, 0.301]], dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
la = Laplace(torch.nn.Linear(2, 1, bias=False).double(), "regression", subset_of_weights="all", hessian_structure="full",
             prior_precision=1e-9)
la.fit(DataLoader(TensorDataset(X, y)))

G = X.T @ X
error = distance(la.H, G)
print(f"H is {la.H.dtype}: entry {la.H[1, 1].item()!r} for {G[1, 1].item()!r}, relative error {error:.1e}")
right = torch.linalg.inv(G + 1e-9 * torch.eye(2, dtype=torch.float64))
print(f"posterior_covariance: relative error {distance(la.posterior_covariance, right):.1e}")
print("WRONG" if error > 1e-14 else "RIGHT")
