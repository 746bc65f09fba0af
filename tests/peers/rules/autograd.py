"""HIPS autograd, which has no special function that loses digits."""
from __future__ import annotations

from .peer import RIGHT, Peer, Rule, anything
from .torch import OFFERS as OF_TORCH

PEER = Peer("autograd", "1.9.1", {"1.9.1": {}}, OF_TORCH, (Rule(("*",), anything, ("*",), RIGHT),), home="jax")
