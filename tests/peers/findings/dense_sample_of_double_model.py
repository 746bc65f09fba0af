"""Can dense posteriors of a float64 model be sampled, by Laplace and by variational inference?"""
import warnings

import torch

warnings.simplefilter("ignore")
import torchopt  # noqa: E402
from posteriors import laplace, vi  # noqa: E402

right = True
for dtype in (torch.float32, torch.float64):
    params, full = {"w": torch.zeros(2, dtype=dtype)}, torch.eye(2, dtype=dtype)
    for name, module, state in (("laplace", laplace.dense_ggn, laplace.dense_ggn.init(params, full)),
                                ("vi", vi.dense, vi.dense.init(params, torchopt.sgd(lr=1.0), full))):
        try:
            print(f"{dtype}: {name} draws", module.sample(state, torch.Size([5]))["w"].dtype)
        except RuntimeError as error:
            right = False
            print(f"{dtype}: {name} raised RuntimeError:", str(error).splitlines()[0])
print("RIGHT" if right else "WRONG")
