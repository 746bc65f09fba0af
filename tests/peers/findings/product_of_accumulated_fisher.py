"""ASDL's Fisher-vector product over two batches with accumulate=True, beside the product over all data at once."""
import warnings

import torch
from asdl.fisher import FisherConfig, get_fisher_maker
from asdl.grad_maker import LOSS_MSE
from asdl.matrices import FISHER_EXACT, SHAPE_FULL
from asdl.vector import ParamVector

warnings.simplefilter("ignore")
X, model = torch.arange(8.0).reshape(4, 2), torch.nn.Sequential(torch.nn.Linear(2, 1))
maker = get_fisher_maker(model, FisherConfig(FISHER_EXACT, [SHAPE_FULL], LOSS_MSE, data_size=1))
ones = ParamVector(list(model.parameters()), torch.ones(3))


def product(batches):
    for i, batch in enumerate(batches):
        maker.setup_model_call(model, batch)
        maker.forward_and_backward(fvp=True, vec=ones, accumulate=i > 0)
    return maker.load_fvp(SHAPE_FULL).get_flatten_vector().tolist()


whole, parts, first = product([X]), product(X.split(2)), product([X[:2]])
print(f"all data {whole}, two batches accumulated {parts}, the first batch alone {first}")
print("RIGHT" if parts == whole else "WRONG")
