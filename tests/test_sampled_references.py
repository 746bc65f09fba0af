"""The stored posteriors by sampling meet the standard of a reference, and the standard refuses what does not."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.references import kernels, monitor
from tests.references.__main__ import DATA
from tests.references.kernels import Plan
from tests.references.sampled import __main__ as command
from tests.references.sampled import standard
from tests.references.sampled.problems import PROBLEMS

STORED = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("s-*.json"))}
BY_ID = {problem.id: problem for problem in PROBLEMS}
FIRST = next(iter(STORED.values()))


def test_at_least_six_posteriors_are_stored_those_of_the_catalogue():
    assert len(STORED) >= 6 and set(STORED) == set(BY_ID)


@pytest.mark.parametrize("id", STORED)
def test_a_stored_posterior_meets_the_standard_of_a_reference(id):
    assert standard.complaints(STORED[id]) == []


@pytest.mark.parametrize("id", STORED)
def test_a_stored_posterior_is_that_of_the_catalogue_drawn_by_the_plans_of_today(id):
    stored, problem = STORED[id], BY_ID[id]
    for name, value in zip(("X", "y", "X_new"), problem.data()):
        assert np.array_equal(np.array(stored[name]), value) and not (256 * value % 1).any()
    assert tuple(stored["sizes"]) == problem.sizes and stored["activation"] == problem.activation
    assert stored["likelihood"] == {"name": problem.likelihood[0], **problem.likelihood[1]}
    assert stored["prior_precision"] == problem.precision and stored["num_params"] == problem.net.num_params
    for name, kernel in stored["kernels"].items():
        plan = vars(problem.plan(name))
        assert {key: kernel["settings"][key] for key in plan} == plan


@pytest.mark.parametrize("id", STORED)
def test_stored_z_scores_are_those_of_the_stored_numbers(id):
    for what in ("kernels", "log_evidence"):
        for pair, z in standard.pairwise(STORED[id][what]).items():
            assert np.allclose(STORED[id]["z"][what][pair], z)


@pytest.mark.parametrize("id", ["s-1-4-1-tanh", "s-o-rings-1-4-1"])
def test_a_short_run_agrees_with_the_stored_reference(id):
    """Hamiltonian Monte Carlo with other seeds: what is 0.4 posterior standard deviations off is seen."""
    problem, stored = BY_ID[id], monitor.Estimates.of_lists(STORED[id]["kernels"][standard.REFERENCE])
    plan = replace(problem.plan("hmc").scaled(0.03), chains=64)
    found = kernels.KERNELS["hmc"](problem.posterior(), plan).estimates(problem.net, problem.data()[2])
    z = monitor.z_between(found, stored)
    assert not monitor.rejected(z).any(), z
    assert monitor.detectable([np.hypot(found.error, stored.error)], [stored.sd]) <= 0.4


# -- planted faults ---------------------------------------------------------------------------------------------------------


def spoilt(change):
    record = copy.deepcopy(FIRST)
    change(record)
    return standard.complaints(record)


def off_by(kernel, errors):
    """One mean of a kernel moved by so many of the two kernels' common standard errors."""
    def change(record):
        other = record["kernels"]["hmc"]["error"][0]
        record["kernels"][kernel]["mean"][0] += errors * np.hypot(other, record["kernels"][kernel]["error"][0])
    return change


FAULTS = {
    "R-hat": lambda record: record["kernels"]["nuts"]["rhat"].__setitem__(1, 1.004),
    "ESS": lambda record: record["kernels"]["hmc"]["size"].__setitem__(2, 9e4),
    "hmc: 1 divergences": lambda record: record["kernels"]["hmc"].update(divergences=1),
    "nuts: 26 divergences": lambda record: record["kernels"]["nuts"].update(divergences=26),
    "E-BFMI": lambda record: record["kernels"]["hmc"].update(e_bfmi=0.2),
    "chains": lambda record: record["kernels"]["hmc"]["settings"].update(chains=8),
    "kernels disagree": off_by("nuts", 12),
    "log_evidence disagree": lambda record: record["log_evidence"]["smc"].update(
        value=record["log_evidence"]["smc"]["value"] + 12 * record["log_evidence"]["smc"]["error"] + 1),
    "methods": lambda record: record.update(log_evidence=dict(list(record["log_evidence"].items())[:2])),
    "expected 3": lambda record: record.update(kernels={"hmc": record["kernels"]["hmc"], "nuts": record["kernels"]["nuts"]}),
    "hidden units differ": lambda record: record["orbit"]["z"].__setitem__(0, 7.0),
    "not finite": lambda record: record["kernels"]["hmc"]["sd_error"].__setitem__(0, float("nan")),
    "smallest standard error": lambda record: [each.update(error=0.2) for each in record["log_evidence"].values()],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_record_that_misses_the_standard_is_refused(fault):
    assert any(fault in complaint for complaint in spoilt(FAULTS[fault]))


def test_chains_that_never_change_the_place_of_a_unit_fail_the_orbit_test():
    """Ten chains, each with one unit large and one small for ever, by chance the same in most."""
    rng = np.random.default_rng(0)
    net, scales = BY_ID["s-1-4-1-tanh"].net, np.ones(13)
    scales[0] = 3.0
    theta = rng.standard_normal((16, 200, 13)) * scales
    assert monitor.rejected(np.array(standard.orbit(net, theta)["z"])).any()
    assert not monitor.rejected(np.array(standard.orbit(net, theta / scales)["z"])).any()


# -- the command ------------------------------------------------------------------------------------------------------------


def few(problem):
    """The problem with hardly any draws."""
    return replace(problem, plans={"hmc": Plan(30, chains=16, warmup=60, steps=4), "nuts": Plan(10, chains=16, warmup=60),
                                   "smc, elliptical": Plan(1, chains=16, runs=3, rungs=4)})


def test_a_run_goes_on_behind_what_is_finished_and_gives_the_same_record(tmp_path, monkeypatch):
    """Stopped before the third kernel, as a kill would; what was finished is read, not drawn again."""
    problem = few(BY_ID["s-1-4-1-tanh"])
    monkeypatch.setattr(command.evidence, "attempts", lambda *arguments: {})
    whole = command.made(problem, tmp_path / "whole")

    def stop(*arguments, **where):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(command.KERNELS, "smc, elliptical", stop)
        with pytest.raises(KeyboardInterrupt):
            command.made(problem, tmp_path / "broken")
    monkeypatch.setitem(command.KERNELS, "nuts", stop)
    assert untimed(command.made(problem, tmp_path / "broken")) == untimed(whole)
    assert standard.complaints(whole)


def untimed(record):
    """Without the seconds that it took."""
    return json.loads(json.dumps(record), object_hook=lambda found: {key: found[key] for key in found if key != "cpu_seconds"})
