"""The sampled Fisher of one datum is g gᵀ, g = p − e_c for the class c that was drawn: one of as many matrices as classes."""
import numpy
import torch
from curvlinops import FisherMCLinearOperator

model = torch.nn.Linear(1, 3, bias=False)
with torch.no_grad():
    model.weight.copy_(torch.tensor([[0.0], [1.0], [2.0]]))
data = [(torch.ones(1, 1), torch.zeros(1, dtype=torch.long))]
p = torch.softmax(model.weight.detach().flatten(), 0)

wrong = False
for seed in (0, 1):
    operator = FisherMCLinearOperator(model, torch.nn.CrossEntropyLoss(), list(model.parameters()), data, seed=seed)
    operator = getattr(operator, "to_scipy", lambda: operator)()
    F = torch.tensor(operator @ numpy.eye(3, dtype=numpy.float32))
    allowed = [torch.outer(p - e, p - e) for e in torch.eye(3)]
    distance = min(float((F - matrix).norm() / matrix.norm()) for matrix in allowed)
    print(f"seed {seed}: trace {F.trace():.6f}, possible traces {[round(float(matrix.trace()), 6) for matrix in allowed]},",
          f"relative distance to the nearest {distance:.1e}")
    wrong |= distance > 1e-5
print("WRONG" if wrong else "RIGHT")
