"""One call for the whole budget of a small network on a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from refbnn.budget import evidences, targets
from refbnn.budget.places import Places
from refbnn.budget.table import Table
from refbnn.budget.treatments import EXACT, GGN, LINEAR, NETWORK, PROBIT, SUM, Prepared, Treatment, prepare, treatments
from refbnn.posterior import Posterior
from refbnn.quadrature import Integral
from refbnn.shapes import as_positive, expect_methods

MEASURES = ("KL", "TV", "sd ratio")
STAGES = 5


@dataclass(frozen=True, eq=False)
class Budget:
    """What each step costs, with errors.

    `predictions`: for every treatment KL and TV of its law of new targets from the exact one and the ratio of its standard
    deviation of f to the exact one, inside and outside the data, and −log p of held-out targets if there were any. `steps`: what
    each step adds to the KL. `evidence`: log evidences less the exact one. `inputs`: KL at each input.
    `facts`: what was computed, in words and numbers.
    """

    facts: dict[str, object]
    steps: Table
    predictions: Table
    evidence: Table
    inputs: Table

    @property
    def tables(self) -> dict[str, Table]:
        """By name."""
        return {"steps": self.steps, "predictions": self.predictions, "evidence": self.evidence, "inputs": self.inputs}


def compute(posterior: Posterior, places: Places, rng: np.random.Generator, held_out: tuple | None = None,
            within: float = 1e-6, watch: Callable[[str], None] = lambda label: None) -> Budget:
    """The budget of a network with one output, Gaussian prior, Gaussian noise of known variance or labels 0 and 1.

    `held_out` is (X, y); `within` the error of the log evidence that is asked of grids; `watch(label)` hears what begins, STAGES
    labels. Raises TooLarge where the exact posterior is out of reach or `within` below round-off, ValueError for other
    likelihoods and outputs.
    """
    _expect(posterior)
    made = prepare(posterior, rng, as_positive("within", within), watch)
    rows = treatments(made)
    watch("predictions")
    found = compared(rows, places.all, posterior.likelihood)
    scores = _scores(rows, held_out)
    return Budget(
        _facts(made, places, within),
        _steps(rows, found, places.regions),
        _predictions(rows, found, scores, places.regions),
        evidences.table(made),
        _inputs(rows, found, places),
    )


def _expect(posterior: Posterior) -> None:
    expect_methods("posterior", posterior, "net", "likelihood", "prior", "loss")
    likelihood = posterior.likelihood
    if posterior.net.num_outputs != 1:
        raise ValueError(f"net: expected one output, got {posterior.net.num_outputs}")
    if not getattr(likelihood, "quadratic", False) and not getattr(likelihood, "bounded", False):
        raise ValueError(f"likelihood: expected Normal noise or Bernoulli labels, got {type(likelihood).__name__}")


@dataclass(frozen=True, eq=False)
class Compared:
    """A treatment against the truth at each input: (m) each."""

    kl: Integral
    tv: Integral
    std_ratio: Integral


def compared(rows: tuple[Treatment, ...], X: np.ndarray, likelihood: object) -> list[Compared]:
    """Each treatment against the first, the truth, at new inputs (m d)."""
    functions = [row.law.functions(X) for row in rows]
    points = _points(functions, likelihood, len(X))
    densities = [row.law.targets(X, points.y) for row in rows]
    exact_f, exact = functions[0], densities[0]
    return [Compared(targets.kl(exact, p, points), targets.tv(exact, p, points), _std_ratio(f, exact_f))
            for f, p in zip(functions, densities)]


def _points(functions: list[Integral], likelihood: object, num_inputs: int) -> targets.Points:
    if getattr(likelihood, "bounded", False):
        return targets.labels(num_inputs)
    means, variances = (np.array(part) for part in zip(*(found.value for found in functions)))
    reach = targets.REACH * np.sqrt(variances + likelihood.variance)
    return targets.line((means - reach).min(0), (means + reach).max(0), likelihood.variance)


def _std_ratio(f: Integral, exact: Integral) -> Integral:
    variance, of_exact = f.value[1], exact.value[1]
    ratio = np.sqrt(variance / of_exact)
    relative = np.divide(f.error[1], variance, out=np.zeros_like(variance), where=variance > 0) + exact.error[1] / of_exact
    return Integral(ratio, 0.5 * ratio * relative)


def _scores(rows: tuple[Treatment, ...], held_out: tuple | None) -> list[Integral | str]:
    """The mean of −log p over held-out targets."""
    if held_out is None:
        return [""] * len(rows)
    X, y = (np.asarray(part, dtype=float) for part in held_out)
    densities = [row.law.targets(X, y[:, None]) for row in rows]
    return [Integral(-np.log(p.value).mean(), (p.error / p.value).mean()) for p in densities]


def _mean(values: Integral, where: slice) -> Integral:
    return Integral(values.value[where].mean(), values.error[where].mean())


def _predictions(rows, found, scores, regions) -> Table:
    measures = {"KL": lambda c: c.kl, "TV": lambda c: c.tv, "sd ratio": lambda c: c.std_ratio}
    columns = [f"{name} {region}" for name in MEASURES for region in regions]
    lines = [(*row.labels, *(_mean(measures[name](c), where) for name in MEASURES for where in regions.values()), score)
             for row, c, score in zip(rows, found, scores)]
    table = Table("predictions against the exact ones", 3, ("model", "inference", "integral", *columns, "-log p held out"),
                  tuple(lines))
    return table if scores[0] != "" else Table(table.title, 3, table.columns[:-1], tuple(line[:-1] for line in table.rows))


CHAIN = (  # each step changes one thing
    ("model change", (LINEAR, EXACT, SUM)),
    ("inference", (LINEAR, GGN, SUM)),
    ("integration", (LINEAR, GGN, PROBIT)),
)
SAMPLING = ("network instead of linear model", (LINEAR, GGN, SUM), (NETWORK, GGN, SUM))


def _steps(rows, found, regions) -> Table:
    """KL(exact ‖ after) − KL(exact ‖ before), Eq. (budget-in-nats), which a step back towards the truth makes negative."""
    kls = {row.labels: c.kl for row, c in zip(rows, found)}
    lines, before = [], rows[0].labels
    for name, after in CHAIN:
        if after in kls:
            lines.append((name, before, after))
            before = after
    rows = tuple((name, _named(start), _named(end), *(_change(kls, start, end, where) for where in regions.values()))
                 for name, start, end in (*lines, SAMPLING))
    return Table("what each step adds to KL(exact || prediction), nats", 1,
                 ("step", "from", "to", *(f"adds {region}" for region in regions)), rows)


def _named(labels: tuple[str, str, str]) -> str:
    model, inference, integration = labels
    return f"{model}: {inference}" + (f", {integration}" if integration != SUM else "")


def _change(kls, before, after, where) -> Integral:
    a, b = _mean(kls[after], where), _mean(kls[before], where)
    return Integral(a.value - b.value, a.error + b.error)


def _inputs(rows, found, places: Places) -> Table:
    """KL at each input, and the ratio of standard deviations."""
    inside = len(places.inside)
    lines = [(*row.labels, "inside" if i < inside else "outside", " ".join(f"{v:.6g}" for v in x),
              Integral(c.kl.value[i], c.kl.error[i]), Integral(c.std_ratio.value[i], c.std_ratio.error[i]))
             for row, c in zip(rows, found) for i, x in enumerate(places.all)]
    return Table("at each input", 5, ("model", "inference", "integral", "region", "input", "KL", "sd ratio"), tuple(lines))


def _facts(made: Prepared, places: Places, within: float) -> dict[str, object]:
    posterior, exact = made.posterior, made.truth.log_evidence
    return {
        "sizes": list(posterior.net.sizes), "parameters": posterior.num_params, "data": len(posterior.loss.y),
        "likelihood": type(posterior.likelihood).__name__, "inputs inside": len(places.inside),
        "inputs outside": len(places.outside), "within": within,
        "exact posterior": made.truth.route, "log evidence": {"value": float(exact.value), "error": float(exact.error)},
        "modes found": len(made.modes.found), "copies of the best mode": made.modes.copies[0],
        "order of the group": made.modes.order,
        "variational residuals": {": ".join(key): float(found.residual) for key, found in made.optima.items()},
    }
