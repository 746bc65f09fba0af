"""ASDL's sampled Fisher with 1 and with 100 draws per datum: both estimate the exact Fisher, so their traces should be close."""
import warnings

import torch
from asdl.fisher import FisherConfig, get_fisher_maker
from asdl.grad_maker import LOSS_CROSS_ENTROPY
from asdl.matrices import FISHER_EXACT, FISHER_MC, SHAPE_FULL

warnings.simplefilter("ignore")
torch.manual_seed(0)
X = torch.randn(500, 2)
model = torch.nn.Sequential(torch.nn.Linear(2, 3))


def trace(kind, draws):
    maker = get_fisher_maker(model, FisherConfig(kind, [SHAPE_FULL], LOSS_CROSS_ENTROPY, n_mc_samples=draws, data_size=len(X)))
    maker.setup_model_call(model, X)
    maker.forward_and_backward()
    return model.fisher.data.trace().item()


exact, one, many = trace(FISHER_EXACT, 1), trace(FISHER_MC, 1), trace(FISHER_MC, 100)
print(f"trace: exact {exact:.3f}, one draw {one:.3f}, 100 draws {many:.3f}, times 100: {100 * many:.3f}")
print("RIGHT" if abs(many / exact - 1) < 0.1 else "WRONG")
