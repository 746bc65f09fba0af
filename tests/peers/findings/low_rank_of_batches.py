"""laplace-torch: a low-rank posterior of the same data depends on how they are batched. Needs asdfghjkl (setup.sh)."""
import warnings

import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
model = torch.nn.Linear(2, 3)
X, y = torch.randn(12, 2), torch.randint(3, (12,))


def loss(theta):
    return torch.nn.functional.cross_entropy(X @ theta[:6].reshape(3, 2).T + theta[6:], y, reduction="sum")


theta = torch.cat([model.weight.detach().flatten(), model.bias.detach()])
right = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, theta)).flip(0)[:2]
print("Hessian: leading eigenvalues", [round(value, 4) for value in right.tolist()])
found = {}
for size in (12, 4):
    la = Laplace(model, "classification", subset_of_weights="all", hessian_structure="lowrank", backend_kwargs={"low_rank": 2})
    torch.manual_seed(0)
    la.fit(DataLoader(TensorDataset(X, y), batch_size=size))
    found[size] = la.H[1].sort(descending=True)[0]
    print(f"batches of {size}: leading eigenvalues", [round(value, 4) for value in found[size].tolist()])
print("RIGHT" if torch.allclose(found[4], right, rtol=0.01) else "WRONG")
