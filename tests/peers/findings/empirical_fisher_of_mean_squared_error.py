"""Empirical Fisher of the mean squared error of f = W x with C = 3 outputs: (1/NC) Σ g gᵀ, g the gradient of a datum's ‖y − f‖².

That is the package's own convention: its GGN carries the same 1/(NC), and so does the empirical Fisher of later releases.
"""
import numpy
import torch
from curvlinops import EFLinearOperator, GGNLinearOperator, KFACLinearOperator

X, y = torch.tensor([[2.0]]), torch.tensor([[1.0, 0.0, 0.0]])
model = torch.nn.Linear(1, 3, bias=False)
torch.nn.init.zeros_(model.weight)
problem = model, torch.nn.MSELoss(), list(model.parameters()), [(X, y)]

# r = f − y = (−1, 0, 0), so g = 2 r x = (−4, 0, 0), and the GGN is 2 x² I, both over NC = 3.
first = numpy.array([1.0, 0.0, 0.0], dtype=numpy.float32)
make = {"GGN": GGNLinearOperator(*problem), "empirical Fisher": EFLinearOperator(*problem),
        "empirical KFAC": KFACLinearOperator(*problem, fisher_type="empirical")}
right = {"GGN": 8 / 3, "empirical Fisher": 16 / 3, "empirical KFAC": 16 / 3}
wrong = False
for name, operator in make.items():
    operator = getattr(operator, "to_scipy", lambda: operator)()
    seen = float((operator @ first)[0])
    print(f"{name}: {seen:.6f}, right is {right[name]:.6f}")
    wrong |= abs(seen - right[name]) > 1e-5
print("WRONG" if wrong else "RIGHT")
