"""NNGeometry's Fisher of a float64 classifier, torch's default dtype float32."""
import torch
from nngeometry.metrics import FIM
from nngeometry.object import PMatDense

torch.manual_seed(0)
X, model = torch.ones(4, 2), torch.nn.Sequential(torch.nn.Linear(2, 3))
for dtype in (torch.float32, torch.float64):
    try:
        print(dtype, "trace", FIM(model.to(dtype), (X.to(dtype), torch.zeros(4)), PMatDense, "classif_logits").trace().item())
        verdict = "RIGHT"
    except RuntimeError as error:
        print(dtype, "raised RuntimeError:", error)
        verdict = "WRONG"
print(verdict)
