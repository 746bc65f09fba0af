"""One stream of random numbers a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refbnn.shapes import Parameters, Values, as_array, as_count


@dataclass(frozen=True)
class Streams:
    """Independent numpy Generators, one a chain. Chain i's numbers do not depend on how many chains there are.

    Indexing with an array of chains gives their streams, not copies: what is drawn from a part is drawn from the whole.
    """

    generators: tuple[np.random.Generator, ...]

    @classmethod
    def spawn(cls, seed: int | Sequence[int], num_chains: int, first: int = 0, stage: tuple[int, ...] = ()) -> Streams:
        """Streams first, ..., first + num_chains − 1 of those that SeedSequence(seed) spawns; with `stage` a child of each."""
        seed, keys = as_seed(seed), range(first, first + as_count("num_chains", num_chains))
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


def as_seed(seed: object) -> int | list[int]:
    """An integer >= 0 or a list of such; raises ValueError for anything else."""
    if hasattr(seed, "__len__"):
        return [as_count("seed", part, 0) for part in seed]
    return as_count("seed", seed, 0)


def as_chains(start: object, num_params: int) -> Parameters:
    """Where chains start, (c p), at least one; raises ValueError otherwise."""
    start = as_array("start", start, "c p", p=num_params)
    if not len(start):
        raise ValueError(f"start: expected at least one chain, got shape {start.shape}")
    return start
