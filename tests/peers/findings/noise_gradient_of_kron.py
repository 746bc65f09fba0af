"""laplace-torch: the gradient of KronLaplace's log marginal likelihood in the noise, beside a central difference of it.

The other structures give both alike.
"""
import torch
from laplace import Laplace
from laplace.curvature import CurvlinopsGGN
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
X, y = torch.randn(11, 2), torch.randn(11, 3)
model = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
wrong = False
for structure in ("full", "diag", "kron"):
    la = Laplace(model, "regression", subset_of_weights="all", hessian_structure=structure, backend=CurvlinopsGGN)
    la.fit(DataLoader(TensorDataset(X, y), batch_size=4))
    log_sigma = torch.tensor(-0.3, requires_grad=True)
    slope, = torch.autograd.grad(la.log_marginal_likelihood(sigma_noise=log_sigma.exp()), log_sigma)
    low, high = (la.log_marginal_likelihood(sigma_noise=torch.tensor(-0.3 + h).exp()).item() for h in (-1e-5, 1e-5))
    difference = (high - low) / 2e-5
    print(f"{structure}: gradient {slope.item():.6f}, difference {difference:.6f}")
    wrong |= abs(slope.item() - difference) > 1e-4 * abs(difference)
print("WRONG" if wrong else "RIGHT")
