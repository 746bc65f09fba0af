"""ASDL's `empirical_direct_ntk` of any model, beside `empirical_implicit_ntk`."""
import warnings

import torch
from asdl.kernel import empirical_direct_ntk, empirical_implicit_ntk

warnings.simplefilter("ignore")
model, X = torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.ones(4, 2)
print("empirical_implicit_ntk:", tuple(empirical_implicit_ntk(model, X).shape))
try:
    print("empirical_direct_ntk:", tuple(empirical_direct_ntk(model, X).shape))
    print("RIGHT")
except ValueError as error:
    print("empirical_direct_ntk raised ValueError:", error)
    print("WRONG")
