"""ASDL's `jacobian` of any model."""
import warnings

import torch
from asdl.gradient import jacobian

warnings.simplefilter("ignore")
model, X = torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.ones(4, 2)
try:
    print(jacobian(model, X).shape)
    print("RIGHT")
except AttributeError as error:
    print("jacobian raised AttributeError:", error)
    print("WRONG")
