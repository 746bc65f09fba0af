"""NNGeometry's block-diagonal and KFAC matrices of a float64 model as dense matrices, torch's default dtype float32.

Everything here is rational: x = 0.1 and one linear layer, whose Fisher is 0.1² for the weight.
"""
import torch
from nngeometry.metrics import FIM
from nngeometry.object import PMatBlockDiag, PMatDense, PMatKFAC

X, model = torch.tensor([[0.1]], dtype=torch.float64), torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False)).double()
right = True
for kind in (PMatDense, PMatBlockDiag, PMatKFAC):
    matrix = FIM(model, (X, torch.zeros(1)), kind, "regression").to_torch()
    error = abs(matrix.item() / 0.1 ** 2 - 1)
    print(f"{kind.__name__}.to_torch(): {matrix.dtype}, relative error {error:.1e}")
    right &= matrix.dtype == torch.float64 and error < 1e-15
print("RIGHT" if right else "WRONG")
