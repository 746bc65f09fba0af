"""Runs a kernel: many chains, perhaps many workers, perhaps many days.

Chains are cut into shards of fixed width and the run into rounds of fixed length, whatever the number of workers. A round of a
shard is a pure function of the state that it starts from, so the draws are the same bytes however the work is spread and however
often it was interrupted, on one build of NumPy with one BLAS thread a worker (OMP_NUM_THREADS=1): products of another size or
another number of threads may be rounded differently.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from refbnn.samplers.checkpoint import Folder, described, digest
from refbnn.samplers.streams import Streams, as_chains, as_seed
from refbnn.shapes import Parameters, as_count, expect_methods


@dataclass(frozen=True)
class Chains:
    """draws (c t p), log_prob (c t), `info`: every field of the kernel's Info (c t); whether the run was interrupted."""

    draws: np.ndarray
    log_prob: np.ndarray
    info: dict[str, np.ndarray]
    interrupted: bool

    @property
    def num_divergences(self) -> int:
        """How many updates diverged; any is a reason to distrust the draws."""
        return int(np.sum(self.info.get("diverged", 0)))


@dataclass(frozen=True)
class Shard:
    """Some chains on their way: the state they are in, and the streams they draw from, saved."""

    kernel: object
    target: object
    state: object
    streams: list[dict]

    def advanced(self, num_draws: int) -> tuple[Shard, dict[str, np.ndarray]]:
        """The shard after so many updates, and what it drew: draws, log_prob and the fields of Info, each (c t ...)."""
        state, streams, records = self.state, Streams.restore(self.streams), []
        for _ in range(num_draws):
            state, info = self.kernel.step(self.target, state, streams)
            records.append({"draws": state.theta, "log_prob": state.log_prob, **vars(info)})
        drawn = {name: np.stack([record[name] for record in records], axis=1) for name in records[0]}
        return replace(self, state=state, streams=streams.save()), drawn

    def saved(self, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All that the next round needs, and what was drawn, as arrays."""
        state = {f"state.{name}": value for name, value in vars(self.state).items()}
        return {**{f"drawn.{name}": value for name, value in drawn.items()}, **state,
                "streams": np.array(json.dumps(self.streams))}

    def restored(self, arrays: dict[str, np.ndarray]) -> tuple[Shard, dict[str, np.ndarray]]:
        """The inverse of `saved`."""
        state = type(self.state)(**{name: arrays[f"state.{name}"] for name in vars(self.state)})
        drawn = {name.removeprefix("drawn."): value for name, value in arrays.items() if name.startswith("drawn.")}
        return replace(self, state=state, streams=json.loads(str(arrays["streams"]))), drawn


def run(
    kernel: object, target: object, start: Parameters, num_draws: int, seed: int, *, executor: object = None,
    checkpoint: str | PathLike | None = None, round_length: int = 100, width: int = 16,
) -> Chains:
    """`num_draws` updates of each chain; they start at the rows of `start` (c p), and chain i has stream i that `seed` spawns.

    executor: anything with `submit` that returns futures (concurrent.futures, Dask's client.get_executor(), MPI); none: here.
    checkpoint: a folder; what a run with the same arguments has left there is not computed again. Ctrl-C ends the run with the
    rounds that all chains have finished. Progress is shown where stderr is a terminal. Raises ValueError for bad arguments
    and for a folder that belongs to another run.
    """
    expect_methods("kernel", kernel, "init", "step")
    executor = _Here() if executor is None else executor
    expect_methods("executor", executor, "submit")
    start, seed = as_chains(start, target.num_params), as_seed(seed)
    num_draws, round_length, width = (as_count(name, value) for name, value in (
        ("num_draws", num_draws), ("round_length", round_length), ("width", width)))
    shards = [_shard(kernel, target, start[first:first + width], seed, first) for first in range(0, len(start), width)]
    settings = {"seed": seed, "num_draws": num_draws, "round_length": round_length, "width": width, "start": digest([start])}
    folder = None if checkpoint is None else Folder(checkpoint, {**settings, **_identity(shards[0])})
    lengths = [min(round_length, num_draws - done) for done in range(0, num_draws, round_length)]
    drawn, interrupted = [], False
    try:
        for each in _rounds(shards, lengths, executor, folder):
            drawn.append({name: np.concatenate([part[name] for part in each]) for name in each[0]})
            _show(drawn, len(lengths))
    except KeyboardInterrupt:
        interrupted = True
        if not drawn:
            raise
    parts = {name: np.concatenate([part[name] for part in drawn], axis=1) for name in drawn[0]}
    return Chains(parts.pop("draws"), parts.pop("log_prob"), parts, interrupted)


def _shard(kernel, target, start: np.ndarray, seed: int, first: int) -> Shard:
    return Shard(kernel, target, kernel.init(target, start), Streams.spawn(seed, len(start), first).save())


def _rounds(shards: list[Shard], lengths: list[int], executor, folder: Folder | None) -> Iterator[list[dict[str, np.ndarray]]]:
    """What the shards draw, round by round."""
    shards = list(shards)
    for index, length in enumerate(lengths):
        names = [f"round-{index:06d}-shard-{i:04d}" for i in range(len(shards))]
        found = [folder and folder.load(name) for name in names]
        futures = [arrays is None and executor.submit(Shard.advanced, shard, length) for arrays, shard in zip(found, shards)]
        drawn = []
        try:
            for i, (arrays, future) in enumerate(zip(found, futures)):
                shards[i], part = shards[i].restored(arrays) if arrays is not None else future.result()
                if folder and arrays is None:
                    folder.save(names[i], shards[i].saved(part))
                drawn.append(part)
        finally:
            for future in filter(None, futures[len(drawn):]):
                future.cancel()
        yield drawn


def _identity(shard: Shard) -> dict[str, str]:
    """The kernel's description and where one update leads, which shows another target or another build of NumPy.

    The update alone would not do: two kernels may take the same first step and differ later, in a depth not yet reached.
    """
    _, drawn = shard.advanced(1)
    return {**described("kernel", shard.kernel), "target, or build of NumPy (the first update)": digest(drawn.values())}


def _show(drawn: list[dict[str, np.ndarray]], num_rounds: int) -> None:
    """A line on stderr, where somebody can see it."""
    if sys.stderr.isatty():
        diverged = sum(int(np.sum(part.get("diverged", 0))) for part in drawn)
        end = "\n" if len(drawn) == num_rounds else ""
        print(f"\rround {len(drawn)} of {num_rounds}, {diverged} divergences", end=end, file=sys.stderr, flush=True)


class _Here:
    """An executor that computes when asked for the result."""

    def submit(self, function, *arguments):
        """What is to be done."""
        return _Later(function, arguments)


@dataclass(frozen=True)
class _Later:
    function: object
    arguments: tuple

    def result(self):
        """Do it."""
        return self.function(*self.arguments)

    def cancel(self) -> None:
        """Nothing is running."""
