"""The empirical Fisher of one datum of y ~ N(w x, σ²): (∂/∂w log p)² = (r x / σ²)², r = w x − y."""
import torch
from laplace import Laplace
from laplace.curvature import CurvlinopsEF
from torch.utils.data import DataLoader, TensorDataset

x, y, w = 3.0, 1.0, 0.5
model = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.constant_(model.weight, w)
data = DataLoader(TensorDataset(torch.tensor([[x]]), torch.tensor([[y]])))
wrong = False
for sigma in (1.0, 2.0):
    la = Laplace(model, "regression", subset_of_weights="all", hessian_structure="full", sigma_noise=sigma,
                 prior_precision=1.0, backend=CurvlinopsEF)
    la.fit(data)
    right, seen = ((w * x - y) * x / sigma**2) ** 2, la.posterior_precision.item() - 1.0
    print(f"sigma {sigma}: empirical Fisher {right}, posterior_precision − prior_precision {seen}")
    wrong |= abs(seen - right) > 1e-3 * right
print("WRONG" if wrong else "RIGHT")
