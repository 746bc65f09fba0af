"""Runs: the same bytes whatever the workers, the interruptions and the kills; what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from refbnn.precision import Dense, Diagonal
from refbnn.priors import isotropic
from refbnn.samplers import EllipticalSlice, Hmc, Nuts, Streams, WithMoves, chains, hidden_units, run
from refbnn.samplers.checkpoint import Folder, described
from refbnn.symmetry import of_posterior
from tests.samplers.targets import dense_normal
from tests.zoo import Spec

CASE = Spec((2, 3, 1), "tanh", "normal", num_data=5, prior="isotropic").build()
POSTERIOR, P, CHAINS = CASE.posterior, CASE.net.num_params, 11
START = 0.3 * np.random.default_rng(0).normal(size=(CHAINS, P))
HMC = Hmc(0.1, 5, Diagonal(np.ones(P)))
KERNELS = {
    "hmc": HMC, "nuts": Nuts(0.2, Diagonal(np.ones(P))), "elliptical": EllipticalSlice(),
    "with moves": WithMoves(HMC, hidden_units(of_posterior(POSTERIOR))),
}
SETTINGS = {"num_draws": 23, "seed": 5, "round_length": 5, "width": 3}


def a_run(kernel=HMC, **changes):
    return run(kernel, POSTERIOR, START, **{**SETTINGS, **changes})


def same(a, b):
    """Byte for byte."""
    return a.draws.tobytes() == b.draws.tobytes() and a.log_prob.tobytes() == b.log_prob.tobytes() and all(
        a.info[name].tobytes() == b.info[name].tobytes() for name in a.info)


@pytest.mark.parametrize("name", KERNELS)
def test_a_run_is_one_update_after_another_with_its_chains_own_streams(name):
    kernel, found = KERNELS[name], a_run(KERNELS[name])
    assert found.draws.shape == (CHAINS, 23, P) and found.log_prob.shape == (CHAINS, 23) and not found.interrupted
    assert all(field.shape == (CHAINS, 23) for field in found.info.values())
    state, streams = kernel.init(POSTERIOR, START), chains.Streams.spawn(5, CHAINS)
    for t in range(23):
        state, _ = kernel.step(POSTERIOR, state, streams)
        np.testing.assert_allclose(found.draws[:, t], state.theta, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.log_prob, POSTERIOR.log_prob(found.draws), rtol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_chains_know_the_density_of_where_they_start(name):
    state = KERNELS[name].init(POSTERIOR, START)
    assert np.array_equal(state.theta, START)
    np.testing.assert_allclose(state.log_prob, POSTERIOR.log_prob(START), rtol=1e-9)


def test_rounds_change_nothing():
    assert same(a_run(), a_run(round_length=23))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_threads_change_nothing(workers):
    with ThreadPoolExecutor(workers) as executor:
        assert same(a_run(), a_run(executor=executor))


@pytest.mark.parametrize("name", ["hmc", "with moves"])
def test_processes_change_nothing(name):
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as executor:
        assert same(a_run(KERNELS[name]), a_run(KERNELS[name], executor=executor))


def test_workers_of_a_cluster_change_nothing():
    import distributed

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client, client.get_executor() as executor:
            assert same(a_run(), a_run(executor=executor))


# -- interruptions ----------------------------------------------------------------------------------------------------------


class Interrupted:
    """Executes until the user loses patience."""

    def __init__(self, patience):
        self.patience = patience

    def submit(self, function, *arguments):
        self.patience -= 1
        if self.patience < 0:
            raise KeyboardInterrupt
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize("patience, rounds", [(4, 1), (11, 2), (12, 3)])
def test_ctrl_c_returns_the_rounds_that_all_chains_have_finished(patience, rounds):
    found, whole = a_run(executor=Interrupted(patience)), a_run()
    assert found.interrupted and np.array_equal(found.draws, whole.draws[:, :5 * rounds])


def test_ctrl_c_before_there_is_anything_is_passed_on():
    with pytest.raises(KeyboardInterrupt):
        a_run(executor=Interrupted(2))


@pytest.mark.parametrize("patience", [0, 1, 5, 14])
@pytest.mark.parametrize("name", KERNELS)
def test_a_run_that_goes_on_is_the_unbroken_run(tmp_path, name, patience):
    try:
        a_run(KERNELS[name], executor=Interrupted(patience), checkpoint=tmp_path)
    except KeyboardInterrupt:
        pass
    assert same(a_run(KERNELS[name], checkpoint=tmp_path), a_run(KERNELS[name]))


def test_what_is_there_is_not_computed_again(tmp_path):
    whole = a_run(checkpoint=tmp_path)
    assert same(a_run(checkpoint=tmp_path, executor=Interrupted(0)), whole)


@pytest.mark.parametrize("changes", [
    {"seed": 6}, {"num_draws": 24}, {"width": 4}, {"kernel": Hmc(0.1, 6, Diagonal(np.ones(P)))},
    {"kernel": Hmc(0.1, 5, Diagonal(np.full(P, 1.01)))}])
def test_a_folder_of_another_run_is_refused(tmp_path, changes):
    a_run(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="checkpoint: expected a new folder or one of the same run, got one in which"):
        a_run(checkpoint=tmp_path, **changes)


NUTS = KERNELS["nuts"]
SPREAD = np.eye(P) + 0.1


@dataclass(frozen=True)
class Settled:
    """Settings of all sorts, such as a user's kernel may have."""

    table: np.ndarray
    pairs: tuple
    name: str


@pytest.mark.parametrize("kernel, other, differs", [
    (Nuts(0.9, Diagonal(np.ones(P)), max_depth=2), Nuts(0.9, Diagonal(np.ones(P)), max_depth=10), "kernel.max_depth"),
    (replace(NUTS, metric=Dense(SPREAD)), replace(NUTS, metric=Dense(SPREAD * (1 + 1e-15))), "kernel.metric"),
    (HMC, replace(HMC, jitter=np.nextafter(0.2, 1)), "kernel.jitter"), (HMC, NUTS, "kernel"),
    (WithMoves(HMC, np.copy), WithMoves(replace(HMC, num_steps=6), np.copy), "kernel.kernel.num_steps"),
    (WithMoves(HMC, np.copy), WithMoves(HMC, np.sort), "kernel.move"),
    (Settled(np.eye(2), (1, 2), "a"), Settled(np.ones((2, 2)), (1, 2), "a"), "kernel.table"),
    (Settled(np.eye(2), (1, 2), "a"), Settled(np.eye(2), (1, 3), "a"), r"kernel.pairs\[1\]"),
    (Settled(np.eye(2), (1, 2), "a"), Settled(np.eye(2), (1, 2), "b"), "kernel.name")])
def test_a_kernel_is_known_by_every_one_of_its_settings(tmp_path, kernel, other, differs):
    """However alike the draws: a depth that no trajectory has reached yet, a metric that differs in its last digits."""
    Folder(tmp_path, described("kernel", kernel))
    Folder(tmp_path, described("kernel", replace(kernel)))
    with pytest.raises(ValueError, match=f"got one in which (kernel.*, )?{differs}(, kernel.*)? differed"):
        Folder(tmp_path, described("kernel", other))


def test_a_kernel_that_differs_only_after_the_first_update_is_refused(tmp_path):
    """A limit on trajectories that the first one keeps: by its draws alone the folder would be taken for the same run."""
    target, start = dense_normal(P, 1.0), np.zeros((3, P))
    shallow, deep = (Nuts(0.9, Diagonal(np.ones(P)), max_depth=depth) for depth in (9, 10))
    run(shallow, target, start, 3, 5, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="in which kernel.max_depth differed"):
        run(deep, target, start, 3, 5, checkpoint=tmp_path)


def test_another_target_is_refused(tmp_path):
    run(HMC, dense_normal(P, 2.0), START, 3, 5, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="in which target, or build of NumPy"):
        run(HMC, dense_normal(P, 3.0), START, 3, 5, checkpoint=tmp_path)


@pytest.mark.parametrize("seed", [(3, 5), np.int64(3)])
def test_any_seed_finds_its_folder_again(tmp_path, seed):
    assert same(a_run(seed=seed, checkpoint=tmp_path), a_run(seed=seed, checkpoint=tmp_path))


def test_half_a_file_is_thrown_away(tmp_path):
    whole = a_run(checkpoint=tmp_path)
    last = tmp_path / "round-000004-shard-0002.npz"
    (tmp_path / "round-000004-shard-0002.npz.17.partial").write_bytes(last.read_bytes()[:50])
    last.unlink()
    assert same(a_run(checkpoint=tmp_path), whole) and not list(tmp_path.glob("*.partial"))


PROGRAM = """
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import numpy as np
from refbnn.precision import Diagonal
from refbnn.samplers import Hmc, run
from tests.samplers.targets import dense_normal

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background has it ignored
folder, workers, draws = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
executor = ProcessPoolExecutor(workers, mp_context=get_context("fork")) if workers else None
target = dense_normal(5, 10.0)
start = target.sample(np.random.default_rng(0), 11)
found = run(Hmc(0.3, 3, Diagonal(np.ones(5))), target, start, draws, 5, round_length=4, width=3,
            checkpoint=folder if folder != "none" else None, executor=executor)
sys.stdout.buffer.write(found.draws.tobytes())
"""


ROOT = Path(__file__).parents[2]
SURROUNDINGS = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}


def killed_and_resumed(folder: Path, kills: int, workers: int, rng) -> tuple[bytes, int]:
    """The draws of a run whose process group is killed at random moments, and how many kills found it alive."""
    command, hit = [sys.executable, "-c", PROGRAM, str(folder), str(workers), "400"], 0
    while True:
        process = subprocess.Popen(command, **SURROUNDINGS, stdout=subprocess.PIPE, start_new_session=True)
        if hit < kills:
            before = len(list(folder.glob("*.npz"))) if folder.exists() else 0
            while process.poll() is None and len(list(folder.glob("*.npz")) if folder.exists() else []) == before:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.03))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                hit += 1
        out, _ = process.communicate()
        if process.returncode == 0:
            return out, hit


def unbroken() -> bytes:
    """The draws of a run that nothing disturbs, in one process and without a folder."""
    command = [sys.executable, "-c", PROGRAM, "none", "0", "400"]
    return subprocess.run(command, **SURROUNDINGS, capture_output=True, check=True).stdout


def test_a_run_killed_at_random_moments_is_the_unbroken_run(tmp_path):
    drawn, hit = killed_and_resumed(tmp_path / "run", 3, 2, np.random.default_rng(0))
    assert hit == 3 and drawn == unbroken()


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_on_a_terminal_returns_the_rounds_that_are_finished(tmp_path, workers):
    """The signal that a terminal sends, to the program and its workers alike; all draws would take minutes."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(workers), "400000"]
    process = subprocess.Popen(command, **SURROUNDINGS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not list(tmp_path.glob("round-000001-*.npz")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    drawn, whole = np.frombuffer(out).reshape(11, -1, 5), np.frombuffer(unbroken()).reshape(11, 400, 5)
    assert process.returncode == 0 and 4 <= drawn.shape[1] < 400_000 and drawn.shape[1] % 4 == 0
    assert np.array_equal(drawn[:, :400], whole[:, :drawn.shape[1]])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_twenty_kills_change_nothing(tmp_path, workers):
    drawn, hit = killed_and_resumed(tmp_path / "run", 20, workers, np.random.default_rng(workers))
    assert hit == 20 and drawn == unbroken()


# -- random symmetries ------------------------------------------------------------------------------------------------------


def images_law(move=None):
    """3!·2³·2!·2² images of a point, and 7680 chains: one is missing with probability 384 e⁻²⁰ < 10⁻⁶; χ² within 6.5σ."""
    case = Spec((2, 3, 2, 1), "tanh", "normal", num_data=5).build()
    post = replace(case.posterior, prior=isotropic(case.net.num_params, 0.6))
    group = of_posterior(post)
    theta = np.tile(np.random.default_rng(0).normal(size=post.num_params), (7680, 1))
    moved = (move or hidden_units)(group)(theta, chains.Streams.spawn(1, 7680))
    np.testing.assert_allclose(post.log_prob(moved), post.log_prob(theta), rtol=1e-11)
    counts = np.unique(moved, axis=0, return_counts=True)[1]
    assert len(counts) == 384
    assert ((counts - 20) ** 2 / 20).sum() < 383 + 6.5 * np.sqrt(2 * 383)


def test_moves_draw_every_image_of_a_point_equally_often():
    """All orders and signs of the units of both hidden layers."""
    images_law()


class Still:
    """Streams with one kind of number replaced by what does nothing."""

    def __init__(self, streams, **instead):
        self.num_chains, self.permutations, self.uniforms = streams.num_chains, streams.permutations, streams.uniforms
        vars(self).update(instead)


FAULTS = {
    "signs only": lambda streams: {"permutations": lambda size: np.tile(np.arange(size), (streams.num_chains, 1))},
    "permutations only": lambda streams: {"uniforms": lambda size: np.ones((streams.num_chains, size))},
    "one sign for all units": lambda streams: {"uniforms": lambda size: np.tile(streams.uniforms(1), (1, size))},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_moves_that_miss_images_are_found_out(fault):
    def move(group):
        return lambda theta, streams: hidden_units(group)(theta, Still(streams, **FAULTS[fault](streams)))

    with pytest.raises(AssertionError):
        images_law(move)


# -- what a user sees -------------------------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_only(capsys, monkeypatch):
    a_run()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    a_run()
    assert "round 5 of 5, 0 divergences\n" in capsys.readouterr().err


def test_divergences_are_shown_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(Hmc(1e3, 3, Diagonal(np.ones(P))), POSTERIOR, START, 2, 1)
    assert f"round 1 of 1, {2 * CHAINS} divergences\n" in capsys.readouterr().err


def test_a_slice_sampler_counts_its_evaluations():
    kernel = EllipticalSlice()
    _, info = kernel.step(POSTERIOR, kernel.init(POSTERIOR, START), Streams.spawn(3, CHAINS))
    assert (info.num_evaluations >= 1).all()


def test_divergences_are_counted():
    found = run(Hmc(1e3, 3, Diagonal(np.ones(P))), POSTERIOR, START, 2, 1)
    assert found.num_divergences == 2 * CHAINS
    assert run(EllipticalSlice(), POSTERIOR, START, 2, 1).num_divergences == 0


@pytest.mark.parametrize("changes, message", [
    ({"num_draws": 0}, "num_draws: expected"), ({"width": 1.5}, "width: expected"),
    ({"round_length": -1}, "round_length: expected"),
    ({"kernel": object()}, "kernel: expected an object with init, step"),
    ({"executor": 3}, "executor: expected an object with submit"), ({"executor": 0}, "executor: expected an object with submit"),
    ({"seed": -1}, "seed: expected an integer >= 0, got -1"), ({"seed": 1.5}, "seed: expected an integer >= 0, got 1.5"),
    ({"seed": None}, "seed: expected an integer >= 0, got None"), ({"seed": (3, -1)}, "seed: expected an integer >= 0, got -1"),
    ({"kernel": Hmc(0.1, 5, Diagonal(np.ones(5)))}, f"metric: expected {P} parameters as the target has, got 5"),
    ({"kernel": Nuts(0.1, Dense(np.eye(5)))}, f"metric: expected {P} parameters as the target has, got 5")])
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        a_run(**changes)


def test_starts_of_another_length_are_refused():
    with pytest.raises(ValueError, match="start: expected shape"):
        run(HMC, POSTERIOR, START[:, 1:], 5, 1)


def test_no_chains_at_all_are_refused():
    with pytest.raises(ValueError, match=r"start: expected at least one chain, got shape \(0, "):
        run(HMC, POSTERIOR, START[:0], 5, 1)


# -- planted faults ---------------------------------------------------------------------------------------------------------


def correlation_of_chains(found):
    """The largest correlation between two chains' draws of one coordinate, after many updates of a Gaussian."""
    draws = found.draws[..., 0]
    return np.abs(np.corrcoef(draws)[np.triu_indices(len(draws), 1)]).max()


def test_chains_with_streams_of_their_own_are_independent_and_identical_streams_are_caught(monkeypatch):
    """400 draws that hardly depend on those before: |r| between independent chains is below 6/√400 = 0.3 but for 2e-9 a pair."""
    target = dense_normal(2, 1.0)
    kernel, start = Hmc(0.8, 2, Diagonal(np.ones(2))), target.sample(np.random.default_rng(0), 7)
    assert correlation_of_chains(run(kernel, target, start, 400, 1)) < 0.3
    true = chains.Streams.spawn.__func__
    monkeypatch.setattr(chains.Streams, "spawn", classmethod(
        lambda cls, seed, number, first=0, stage=(): cls(tuple(true(cls, seed, 1).generators[0] for _ in range(number)))))
    assert correlation_of_chains(run(kernel, target, start, 400, 1)) > 0.9
