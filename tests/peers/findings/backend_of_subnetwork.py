"""A posterior over a subnetwork with the curvature backend said by name, the one that is also the default."""
import torch
from laplace import Laplace
from laplace.curvature import CurvlinopsGGN
from torch.utils.data import DataLoader, TensorDataset

X, y = torch.ones(2, 2), torch.zeros(2, 1)
try:
    la = Laplace(torch.nn.Linear(2, 1), "regression", subset_of_weights="subnetwork", hessian_structure="full",
                 subnetwork_indices=torch.tensor([0, 2]), backend=CurvlinopsGGN)
    la.fit(DataLoader(TensorDataset(X, y)))
    print("posterior covariance:", la.posterior_covariance.tolist())
    print("RIGHT")
except ValueError as error:
    print("SubnetLaplace raised ValueError:", error)
    print("WRONG")
