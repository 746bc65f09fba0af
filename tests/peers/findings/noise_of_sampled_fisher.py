"""A sampled Fisher in double precision, f = w, one datum: (2 √½ z)² = 2 z², with z the generator's first standard normal."""
import torch
from curvlinops import FisherMCLinearOperator

model = torch.nn.Linear(1, 1, bias=False).double()
one = torch.ones(1, 1, dtype=torch.float64)
operator = FisherMCLinearOperator(model, torch.nn.MSELoss(), list(model.parameters()), [(one, one)], seed=1)
seen = (operator @ torch.ones(1, dtype=torch.float64)).item()

z = torch.randn(1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).item()
error = abs(seen / (2 * z**2) - 1)
print(f"sampled Fisher {seen!r}, right is {2 * z**2!r}, relative error {error:.1e}")
print("WRONG" if error > 1e-14 else "RIGHT")
