"""A model with a single number as parameter: can its diagonal posterior be sampled?"""
import warnings

import torch

warnings.simplefilter("ignore")
from posteriors import laplace  # noqa: E402

for size in (2, 1):
    state = laplace.diag_ggn.init({"w": torch.zeros(size)}, 1.0)
    try:
        print(f"{size} parameters: draws", tuple(laplace.diag_ggn.sample(state, torch.Size([5]))["w"].shape))
        print("RIGHT") if size == 1 else None
    except RuntimeError as error:
        print(f"{size} parameters: raised RuntimeError:", str(error).splitlines()[0])
        print("WRONG")
