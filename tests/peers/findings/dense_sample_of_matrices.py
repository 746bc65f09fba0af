"""Can a dense Laplace posterior over a linear layer, whose weight is a matrix, be sampled?"""
import warnings

import torch

warnings.simplefilter("ignore")
from posteriors import laplace  # noqa: E402

params = dict(torch.nn.Linear(3, 2).named_parameters())
try:
    draws = laplace.dense_ggn.sample(laplace.dense_ggn.init(params, 1.0), torch.Size([5]))
    print({name: tuple(value.shape) for name, value in draws.items()})
    print("RIGHT" if draws["weight"].shape == (5, 2, 3) else "WRONG")
except RuntimeError as error:
    print("sample raised RuntimeError:", str(error).splitlines()[0])
    print("WRONG")
