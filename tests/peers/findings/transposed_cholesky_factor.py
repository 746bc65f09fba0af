"""Are draws from FullLaplace.sample distributed as its own posterior_covariance says?"""
import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
X, y = torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.zeros(2, 1)
la = Laplace(torch.nn.Linear(2, 1, bias=False), "regression", subset_of_weights="all", hessian_structure="full")
la.fit(DataLoader(TensorDataset(X, y)))

told, seen = la.posterior_covariance, la.sample(1_000_000).T.cov()
print("posterior_covariance", told.flatten().tolist())
print("covariance of draws ", seen.flatten().tolist())
print("WRONG" if (told - seen).norm() > 0.05 * told.norm() else "RIGHT")
