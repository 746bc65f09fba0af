"""Can the functional posterior of a float64 regression model be used, as that of a float32 model can?"""
import torch
from laplace import Laplace
from torch.utils.data import DataLoader, TensorDataset

right = True
for dtype in (torch.float32, torch.float64):
    X, y = torch.arange(6.0, dtype=dtype).reshape(3, 2), torch.zeros(3, 1, dtype=dtype)
    model = torch.nn.Linear(2, 1).to(dtype)
    try:
        la = Laplace(model, "regression", subset_of_weights="all", hessian_structure="gp", n_subset=3, prior_precision=1.0)
        la.fit(DataLoader(TensorDataset(X, y)))
        print(f"{dtype}: variance", la._glm_predictive_distribution(X)[1].dtype)
    except RuntimeError as error:
        right = False
        print(f"{dtype}: raised RuntimeError:", str(error).split(",")[0])
print("RIGHT" if right else "WRONG")
