"""The determinant of a multi-class Laplace approximation whose classes are independent a priori: one matrix a class."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from refbnn import linalg
from refbnn.shapes import as_array

ClassKernels = Annotated[np.ndarray, "k n n"]
Probabilities = Annotated[np.ndarray, "n k"]


def log_det_one_plus_kernel_curvature(kernels: ClassKernels, p: Probabilities) -> float:
    """log |I + K Λ| for K block-diagonal over classes and Λ_n = diag p_n − p_n p_nᵀ, Eq. (multiclass-determinant).

    Σ_c log |B_c| + log |Σ_c E_c|, B_c = I + D^½ K_c D^½, E_c = D^½ B_c⁻¹ D^½, D = diag p_c: k Cholesky factors of size n in
    place of one of size n·k. Without the last term it is no determinant; the evidence of algorithm 3.3 in Rasmussen & Williams
    (2006) is reported to lack it (shogun issue 2387).
    Raises ValueError unless every p_n is positive and sums to one.
    """
    kernels = as_array("kernels", kernels, "k n n")
    k, n, _ = kernels.shape
    p = as_array("p", p, "n k", n=n, k=k)
    if not (p > 0).all() or np.abs(p.sum(1) - 1).max() > k * np.finfo(float).eps:
        raise ValueError("p: expected positive probabilities that sum to 1 for every datum, got others")
    log_dets, total = 0.0, np.zeros((n, n))
    for K, root in zip(kernels, np.sqrt(p.T)):
        L = linalg.cholesky("I + D^½ K D^½", np.eye(n) + linalg.as_symmetric("kernels", root[:, None] * K * root))
        log_dets += linalg.log_det_from_cholesky(L)
        total += linalg.gram(linalg.solve_lower(L, np.diag(root)))
    return log_dets + linalg.log_det_from_cholesky(linalg.cholesky("Σ E", total))
