"""Can FullLaplace be fitted to a float64 model whose first weight is 1 x 1?"""
import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset

for inputs in (2, 1):
    X, y = torch.ones(2, inputs, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    model = torch.nn.Linear(inputs, 1).double()
    la = Laplace(model, "regression", subset_of_weights="all", hessian_structure="full")
    try:
        la.fit(DataLoader(TensorDataset(X, y)))
        print(f"Linear({inputs}, 1): fitted")
    except RuntimeError as error:
        print(f"Linear({inputs}, 1): fit raised RuntimeError:", str(error).splitlines()[0])
        print("WRONG")
        break
else:
    print("RIGHT")
