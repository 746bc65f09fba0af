"""Can FullLaplace of a float64 model with a float64 prior precision be sampled, and is its curvature float64?"""
import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset

X, y = torch.ones(2, 2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
la = Laplace(torch.nn.Linear(2, 1).double(), "regression", subset_of_weights="all", hessian_structure="full",
             prior_precision=torch.ones(3, dtype=torch.float64))
la.fit(DataLoader(TensorDataset(X, y)))
print("H is", la.H.dtype)
try:
    print("a draw is", la.sample(1).dtype)
    print("RIGHT" if la.H.dtype == torch.float64 else "WRONG")
except RuntimeError as error:
    print("sample raised RuntimeError:", str(error).splitlines()[0])
    print("WRONG")
