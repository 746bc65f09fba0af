"""What a sampled reference must state and show before it is stored: `complaints` says what is missing."""

from __future__ import annotations

import itertools

import numpy as np

from refbnn import diagnostics
from tests.references import monitor

CHAINS, RHAT, SIZE, OTHER_SIZE, E_BFMI = 16, 1.003, 1e5, 4e3, 0.3
DIVERGENT = 1e-3  # of the updates of a kernel that only confirms; of the reference none
KERNELS, METHODS = 3, 3
EVIDENCE_ERROR = 0.1  # nats, of the best method
REFERENCE = "hmc"  # whose numbers are the reference's


def complaints(record: dict) -> list[str]:
    """What keeps a record from being a reference."""
    found = [text for name, kernel in record["kernels"].items() for text in of_kernel(name, kernel)]
    found += [] if len(record["kernels"]) >= KERNELS else [f"{len(record['kernels'])} kernels, expected {KERNELS}"]
    found += [f"log evidence: {len(record['log_evidence'])} methods"] if len(record["log_evidence"]) < METHODS else []
    for what in ("kernels", "log_evidence"):
        z = np.concatenate([[], *map(np.ravel, pairwise(record[what]).values())])
        found += [f"{what} disagree: |z| up to {np.abs(z).max():.1f}"] if monitor.rejected(z).any() else []
    found += ["hidden units differ after random symmetries"] if monitor.rejected(np.array(record["orbit"]["z"])).any() else []
    best = min(method["error"] for method in record["log_evidence"].values())
    return found + ([] if best <= EVIDENCE_ERROR else [f"log evidence: smallest standard error {best:.3f}"])


def of_kernel(name: str, kernel: dict) -> list[str]:
    """The part that one kernel has to show."""
    wanted = SIZE if name == REFERENCE else OTHER_SIZE
    found = [f"{name}: ESS {min(kernel['size']):.0f}, expected {wanted:.0f}"] if min(kernel["size"]) < wanted else []
    for what in ("mean", "error", "sd", "sd_error", "size"):
        found += [] if np.isfinite(kernel[what]).all() else [f"{name}: {what} is not finite"]
    if "rhat" not in kernel:
        return found
    found += [f"{name}: {kernel['settings']['chains']} chains"] if kernel["settings"]["chains"] < CHAINS else []
    found += [f"{name}: R-hat {max(kernel['rhat']):.4f}"] if max(kernel["rhat"]) >= RHAT else []
    allowed = 0 if name == REFERENCE else DIVERGENT * kernel["settings"]["chains"] * kernel["settings"]["draws"]
    found += [f"{name}: {kernel['divergences']} divergences"] if kernel.get("divergences", 0) > allowed else []
    return found + ([f"{name}: E-BFMI {kernel['e_bfmi']:.2f}"] if kernel.get("e_bfmi", 1.0) < E_BFMI else [])


def pairwise(found: dict[str, dict]) -> dict[str, np.ndarray]:
    """z-scores between any two, "a, b" by name: of kernels (q), or of log evidences (one number)."""
    def z(a: dict, b: dict) -> np.ndarray:
        name = "mean" if "mean" in a else "value"
        return np.subtract(a[name], b[name]) / np.hypot(a["error"], b["error"])
    return {f"{a}, {b}": z(found[a], found[b]) for a, b in itertools.combinations(found, 2)}


def orbit(net: object, theta: np.ndarray) -> dict:
    """z-scores of |incoming|² and |outgoing|² of every hidden unit against their layer's mean, for draws (c t p) with moves."""
    layers, z = net.unflatten(theta), []
    for (W, b), (out, _) in zip(layers, layers[1:]):
        incoming = (W**2).sum(-1) + (0.0 if b is None else b**2)
        for square in (incoming, (out**2).sum(-2)):
            apart = square - square.mean(-1, keepdims=True)
            z.append(apart.mean((0, 1))[:-1] / diagnostics.mcse_mean(apart)[:-1])  # the last one follows from the others
    return {"z": np.concatenate(z).tolist()}
