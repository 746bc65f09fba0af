"""BackPACK's KFRA of a squared error with a float64 model and several outputs.

The closed form beside it: with one datum and linear layers, the first layer's B is 2 WᵀW, W the second layer's weight.
"""
import warnings

import torch
from backpack import backpack, extend
from backpack.extensions import KFRA

warnings.simplefilter("ignore")


def first_factor(dtype):
    torch.manual_seed(0)
    model = extend(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3)).to(dtype))
    loss = extend(torch.nn.MSELoss(reduction="sum"))
    with backpack(KFRA()):
        loss(model(torch.ones(1, 2, dtype=dtype)), torch.zeros(1, 3, dtype=dtype)).backward()
        return model[0].weight.kfra[0], 2 * model[1].weight.T @ model[1].weight


for dtype in (torch.float32, torch.float64):
    try:
        seen, expected = first_factor(dtype)
        print(f"{dtype}: largest error {(seen - expected).abs().max().item():.1e}")
        verdict = "RIGHT"
    except RuntimeError as error:
        print(f"{dtype}: raised RuntimeError:", error)
        verdict = "WRONG"
print(verdict)
