"""KFAC of a 1 x 1 layer without bias is B A, B = Σ (∂f/∂z)² and A = (1/N) Σ a², however the data are split into batches."""
import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset

X, y = torch.tensor([[1.0], [2.0], [-3.0], [0.5]]), torch.zeros(4, 1)
model = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.Tanh(), torch.nn.Linear(1, 1, bias=False))
for weights in model.parameters():
    torch.nn.init.ones_(weights)

# f = w₂ tanh(w₁ x) at w = 1: ∂f/∂z = 1 − tanh² x for the first layer.
B, A = ((1 - torch.tanh(X) ** 2) ** 2).sum(), (X**2).mean()
seen = {}
for batch_size in (4, 2):
    la = Laplace(model, "regression", subset_of_weights="all", hessian_structure="kron")
    la.fit(DataLoader(TensorDataset(X, y), batch_size=batch_size))
    seen[batch_size] = la.H_facs.to_matrix()[0, 0].item()
    print(f"batches of {batch_size}: {seen[batch_size]:.6f}, B A = {B * A:.6f}")
print("WRONG" if any(abs(value - B * A) > 1e-5 for value in seen.values()) else "RIGHT")
