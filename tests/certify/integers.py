"""A stream of integers that depends on a text alone: SplitMix64 (Steele, Lea & Flood 2014), seeded by SHA-256."""

from __future__ import annotations

import hashlib
from fractions import Fraction

MASK = (1 << 64) - 1
UNIT = 256      # every input is an integer over 256: exact in float32, float64 and in fractions


class Integers:
    """Integers named by a text: the same text gives the same stream on every machine and in every version."""

    def __init__(self, name: str) -> None:
        self.state = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")

    def below(self, bound: int) -> int:
        """An integer in 0 ... bound − 1. The bias of the remainder is under 2⁻⁵⁰ and of no consequence here."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return (mixed ^ (mixed >> 31)) % bound

    def between(self, low: int, high: int) -> int:
        """An integer in low ... high, both included."""
        return low + self.below(high - low + 1)

    def dyadic(self, scale: Fraction = Fraction(1)) -> Fraction:
        """k/256 in [−scale, scale], never zero: a zero would hide its own perturbation."""
        bound = int(scale * UNIT)
        k = self.between(1, bound)
        return Fraction(k if self.below(2) else -k, UNIT)

    def positive(self, low: Fraction, high: Fraction) -> Fraction:
        """k/256 in [low, high]."""
        return Fraction(self.between(int(low * UNIT), int(high * UNIT)), UNIT)

    def vector(self, length: int, scale: Fraction = Fraction(1)) -> list[Fraction]:
        """`length` non-zero dyadics."""
        return [self.dyadic(scale) for _ in range(length)]

    def matrix(self, rows: int, columns: int, scale: Fraction = Fraction(1)) -> list[list[Fraction]]:
        """rows × columns of non-zero dyadics."""
        return [self.vector(columns, scale) for _ in range(rows)]

    def shuffled(self, items: list) -> list:
        """A permutation of `items` (Fisher and Yates)."""
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items
