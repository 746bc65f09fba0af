"""laplace-torch: the functional posterior of a network with two hidden layers, beside the full one, which it must equal."""
import torch
from laplace import Laplace
from laplace.curvature import CurvlinopsGGN
from torch.utils.data import DataLoader, TensorDataset

torch.set_default_dtype(torch.float64)
wrong = False
for hidden in (1, 2):
    torch.manual_seed(1)
    X, y = torch.randn(7, 2), torch.randn(7, 3)
    middle = [torch.nn.Linear(5, 5), torch.nn.Tanh()] * (hidden - 1)
    layers = [torch.nn.Linear(2, 5), torch.nn.Tanh(), *middle, torch.nn.Linear(5, 3)]
    data = DataLoader(TensorDataset(X, y), batch_size=4)
    found = []
    for structure, options in (("full", {}), ("gp", {"n_subset": 7})):
        la = Laplace(torch.nn.Sequential(*layers), "regression", subset_of_weights="all", hessian_structure=structure,
                     backend=CurvlinopsGGN, prior_precision=1.3, **options)
        la.fit(data)
        found.append(la(X[:2])[1])
    print(f"{hidden} hidden layers: full {found[0][0, 0, 0].item():.6f}, functional {found[1][0, 0, 0].item():.6f}")
    wrong |= not torch.allclose(*found, rtol=1e-6)
print("WRONG" if wrong else "RIGHT")
