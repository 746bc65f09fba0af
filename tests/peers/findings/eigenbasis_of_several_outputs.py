"""ASDL's Kronecker-factored eigenbasis of an exact Fisher: are its eigenvectors orthonormal, has each layer one set of scales?"""
import warnings

import torch
from asdl.fisher import FisherConfig, get_fisher_maker
from asdl.grad_maker import LOSS_CROSS_ENTROPY, LOSS_MSE
from asdl.matrices import FISHER_EXACT, SHAPE_KFE

warnings.simplefilter("ignore")
torch.manual_seed(0)
X = torch.randn(5, 2)


def eigenbasis(outputs, loss_type):
    """‖Uaᵀ Ua − I‖ and the number of scales (one for the weights and one for the biases)."""
    model = torch.nn.Sequential(torch.nn.Linear(2, outputs))
    maker = get_fisher_maker(model, FisherConfig(FISHER_EXACT, [SHAPE_KFE], loss_type, data_size=len(X)))
    maker.setup_model_call(model, X)
    maker.forward_and_backward()
    kfe = model[0].fisher.kfe
    return torch.linalg.norm(kfe.Ua.T @ kfe.Ua - torch.eye(2)).item(), len(kfe.scale)


right = True
for outputs, loss_type in ((1, LOSS_MSE), (3, LOSS_MSE), (3, LOSS_CROSS_ENTROPY)):
    error, scales = eigenbasis(outputs, loss_type)
    print(f"{loss_type}, {outputs} outputs: Uaᵀ Ua is off the identity by {error:.1e}, {scales} scales")
    right &= error < 1e-5 and scales == 2
print("RIGHT" if right else "WRONG")
