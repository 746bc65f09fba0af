"""BackPACK's diagonal GGN of a squared error with a float64 model; with float32 it works."""
import warnings

import torch
from backpack import backpack, extend
from backpack.extensions import DiagGGNExact

warnings.simplefilter("ignore")


def diagonal(dtype):
    X, y = torch.arange(8.0).reshape(4, 2).to(dtype), torch.zeros(4, 3, dtype=dtype)
    model, loss = extend(torch.nn.Linear(2, 3).to(dtype)), extend(torch.nn.MSELoss(reduction="sum"))
    with backpack(DiagGGNExact()):
        loss(model(X), y).backward()
        return model.weight.diag_ggn_exact.flatten().tolist()


print("float32:", diagonal(torch.float32))
try:
    print("float64:", diagonal(torch.float64))
    print("RIGHT")
except RuntimeError as error:
    print("float64: raised RuntimeError:", error)
    print("WRONG")
