"""BackPACK's diagonal GGN of nn.MSELoss(), whose mean is over data and outputs: compared with the Hessian by autograd.

The model is linear, so that GGN and Hessian are one.
"""
import warnings

import torch
from backpack import backpack, extend
from backpack.extensions import DiagGGNExact

warnings.simplefilter("ignore")
X, y = torch.arange(8.0).reshape(4, 2), torch.zeros(4, 3)
model, loss = extend(torch.nn.Linear(2, 3)), extend(torch.nn.MSELoss())
with backpack(DiagGGNExact()):
    loss(model(X), y).backward()
    diagonal = model.weight.diag_ggn_exact.flatten().tolist()
hessian = torch.autograd.functional.hessian(lambda W: torch.nn.functional.mse_loss(X @ W.T + model.bias, y), model.weight)
expected = hessian.reshape(6, 6).diagonal().tolist()
print("diag_ggn_exact  ", diagonal)
print("diagonal Hessian", expected)
print("RIGHT" if torch.allclose(torch.tensor(diagonal), torch.tensor(expected)) else "WRONG")
