"""Does the dense Hessian work for a network with SiLU, and outside of torch.no_grad()?"""
import warnings

import torch

warnings.simplefilter("ignore")
from posteriors import laplace  # noqa: E402
from torch.func import jacfwd, jacrev  # noqa: E402


def log_posterior(params, batch):
    return torch.nn.functional.silu(params["w"]).sum(), torch.tensor([])


params = {"w": torch.ones(2)}
print("jacfwd(jacrev(...)), gradients enabled:", jacfwd(jacrev(lambda w: log_posterior({"w": w}, None)[0]))(params["w"]).diag())
try:
    transform = laplace.dense_hessian.build(log_posterior)
    print("dense_hessian:", transform.update(transform.init(params), None)[0].prec.diag())
    print("RIGHT")
except NotImplementedError as error:
    print("dense_hessian raised NotImplementedError:", str(error).split(". ")[0])
    print("WRONG")
