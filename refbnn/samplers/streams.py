"""One stream of random numbers a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.shapes import Values, as_count


@dataclass(frozen=True)
class Streams:
    """Independent numpy Generators, one a chain. Chain i's numbers do not depend on how many chains there are.

    Indexing with an array of chains gives their streams, not copies: what is drawn from a part is drawn from the whole.
    """

    generators: tuple[np.random.Generator, ...]

    @classmethod
    def spawn(cls, seed: int | Sequence[int], num_chains: int, first: int = 0, stage: tuple[int, ...] = ()) -> Streams:
        """Streams first, ..., first + num_chains − 1 of those that SeedSequence(seed) spawns; with `stage` a child of each."""
        keys = range(first, first + as_count("num_chains", num_chains))
        return cls(tuple(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key, *stage))) for key in keys))

    @property
    def num_chains(self) -> int:
        """c."""
        return len(self.generators)

    def __getitem__(self, chains: np.ndarray) -> Streams:
        return Streams(tuple(self.generators[i] for i in chains))

    def normals(self, *shape: int) -> np.ndarray:
        """Standard normals: (c *shape)."""
        return np.array([generator.standard_normal(shape) for generator in self.generators])

    def uniforms(self, *shape: int) -> np.ndarray:
        """Uniform on [0, 1): (c *shape)."""
        return np.array([generator.random(shape) for generator in self.generators])

    def exponentials(self) -> Values:
        """Exponential numbers of mean 1: (c)."""
        return np.array([generator.standard_exponential() for generator in self.generators])

    def integers(self, high: int) -> Values:
        """Uniform on 0, ..., high − 1: (c)."""
        return np.array([generator.integers(high) for generator in self.generators])

    def permutations(self, size: int) -> np.ndarray:
        """Uniform permutations of 0, ..., size − 1: (c size)."""
        return np.array([generator.permutation(size) for generator in self.generators])

    def save(self) -> list[dict]:
        """The state of every stream, as what JSON can hold."""
        return [generator.bit_generator.state for generator in self.generators]

    @classmethod
    def restore(cls, states: list[dict]) -> Streams:
        """Streams that go on where those went on whose `save` this is."""
        made = []
        for state in states:
            bits = getattr(np.random, state["bit_generator"])()
            bits.state = state
            made.append(np.random.Generator(bits))
        return cls(tuple(made))
