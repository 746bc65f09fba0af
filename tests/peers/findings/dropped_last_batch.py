"""NNGeometry's Fisher from a loader that drops its last, smaller batch: of 5 data 4 are seen, so it should average over these."""
import torch
from nngeometry.metrics import FIM
from nngeometry.object import PMatDense, PMatKFAC
from torch.utils.data import DataLoader, TensorDataset

X, model = torch.arange(10.0).reshape(5, 2), torch.nn.Sequential(torch.nn.Linear(2, 1))
ratios = []
for kind in (PMatDense, PMatKFAC):
    dropped = FIM(model, DataLoader(TensorDataset(X), batch_size=4, drop_last=True), kind, "regression").trace().item()
    kept = FIM(model, DataLoader(TensorDataset(X[:4]), batch_size=4), kind, "regression").trace().item()
    ratios.append(dropped / kept)
    print(f"{kind.__name__}: trace {dropped:.4f} for {kept:.4f}, ratio {ratios[-1]:.4f}")
print("RIGHT" if max(abs(ratio - 1) for ratio in ratios) < 1e-6 else "WRONG")
