"""Does the Hessian backend work for a network with SiLU? The cause in two lines of plain torch is shown first."""
import torch
from laplace.curvature import CurvlinopsHessian
from torch.func import jacrev, jvp

w = torch.ones(2)
for mode in (True, False):
    try:
        with torch.set_grad_enabled(mode):
            product = jvp(jacrev(lambda w: torch.nn.functional.silu(w).sum()), (w,), (w,))[1]
        print(f"jvp(jacrev(silu)), grad enabled {mode}:", product.tolist())
    except NotImplementedError as error:
        print(f"jvp(jacrev(silu)), grad enabled {mode}: NotImplementedError:", str(error).split(". ")[0])

model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.SiLU())
try:
    H = CurvlinopsHessian(model, "regression").full(torch.ones(3, 2), torch.zeros(3, 2))[1]
    print("CurvlinopsHessian.full:", tuple(H.shape))
    print("RIGHT")
except NotImplementedError as error:
    print("CurvlinopsHessian.full: NotImplementedError:", str(error).split(". ")[0])
    print("WRONG")
