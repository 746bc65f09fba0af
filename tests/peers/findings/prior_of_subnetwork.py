"""laplace-torch: a subnetwork's prior precision as a diagonal, one entry a chosen parameter, which its documentation offers."""
import torch
from laplace import Laplace
from laplace.curvature import CurvlinopsGGN

model = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
chosen = torch.tensor([0, 3, 4, 7, 20])
try:
    la = Laplace(model, "regression", subset_of_weights="subnetwork", hessian_structure="full", backend=CurvlinopsGGN,
                 subnetwork_indices=chosen, prior_precision=torch.ones(len(chosen)))
    print("prior precision", la.prior_precision_diag)
    print("RIGHT")
except ValueError as refusal:
    print("refused:", refusal)
    print("WRONG")
