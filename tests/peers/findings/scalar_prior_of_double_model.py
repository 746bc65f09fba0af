"""A float64 model with the scalar prior precision 0.1: is that 0.1 in double precision?"""
import warnings

import torch

warnings.simplefilter("ignore")
from posteriors import laplace  # noqa: E402

params = {"w": torch.zeros(2, dtype=torch.float64)}
dense, diagonal = laplace.dense_ggn.init(params, 0.1).prec, laplace.diag_ggn.init(params, 0.1).prec_diag["w"]
print(f"diag_ggn: {diagonal[0].item()!r} in {diagonal.dtype}; dense_ggn: {dense[0, 0].item()!r} in {dense.dtype}")
print("RIGHT" if dense[0, 0].item() == 0.1 else "WRONG")
