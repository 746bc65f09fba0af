"""`refbnn budget`: from what was asked on the command line to tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from refbnn import files, progress
from refbnn.budget import report, widths
from refbnn.budget.report import FormatError
from refbnn.budget.budgeting import STAGES, compute
from refbnn.budget.datasets import DATASETS
from refbnn.budget.places import around
from refbnn.budget.problems import ACTIVATIONS, LIKELIHOODS, DataError, Problem, in_digits, problem, read_csv
from refbnn.budget.treatments import expect_reach
from refbnn.budget.truth import TooLarge, expect_accuracy
from refbnn.cubature import NotConverged
from refbnn.optimize import NotAMode
from refbnn.shapes import as_count, as_positive

REFUSALS = (DataError, TooLarge, NotConverged, FormatError)  # what a user can do something about
NOISE = 0.1  # of the variance of a target from a file
DESCRIPTION = """\
What each step away from the exact posterior of a small network costs, in nats,
each number with its error: the model is linearised, inference in it is
approximate, its integrals are. DATASET is built in (""" + ", ".join(DATASETS) + """), or
--data is a CSV file whose first row names the columns. Inputs, and targets
with noise, are standardised; the noise variance is in those units. One hidden
layer; refused at once where that is known to be out of reach (more than 36
parameters, many data), and where the exact posterior turns out to be: Gaussian
noise and one or two hidden units by grids, all others by Sobol points."""


def add(commands) -> argparse.ArgumentParser:
    """The parser of the command, among others."""
    parser = commands.add_parser("budget", help="what linearising, Laplace and variational inference cost on a data set",
                                 description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", metavar="DATASET", nargs="?", choices=tuple(DATASETS), help="a built-in data set")
    parser.add_argument("--data", metavar="FILE", help="a CSV file in its place, with --target and --inputs")
    parser.add_argument("--target", metavar="NAME", help="the column to be predicted")
    parser.add_argument("--inputs", metavar="A,B", help="the columns to predict it from")
    parser.add_argument("--likelihood", choices=tuple(LIKELIHOODS), help="normal noise, or labels 0 and 1 (default: normal)")
    parser.add_argument("--noise-variance", metavar="V", type=_real, help=f"in units of the target's variance (default {NOISE})")
    _add_model(parser)
    parser.add_argument("--out", metavar="FILE", action="append", default=[],
                        help="also to a file that ends in .json, .csv, .md or .svg (a figure); may be repeated")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", metavar="H", type=_width, default=1, help="hidden units, 0 for a linear model (default 1)")
    parser.add_argument("--compare-widths", metavar="H,H", help="also the evidence of these widths and what is picked")
    parser.add_argument("--prior-precision", metavar="L", type=_real, default=1.0, help="of every parameter (default 1)")
    parser.add_argument("--activation", choices=tuple(ACTIVATIONS), default="tanh")
    parser.add_argument("--hold-out", metavar="K", type=_integer, help="keep every K-th row for scores")
    parser.add_argument("--within", metavar="E", type=_real, default=1e-6,
                        help="error of the log evidence that is asked of grids (default 1e-6), refused below round-off; Sobol "
                             "points, where a grid is too large as well, give what they have, which is printed")
    parser.add_argument("--seed", metavar="S", type=_integer, default=1)


def run(options: argparse.Namespace) -> str:
    """The text for the terminal; files are written whole or not at all. Raises REFUSALS and OSError for what cannot be done."""
    writers = [(path, report.writer_of(path)) for path in options.out]
    asked, sizes = _asked(options), _widths(options.compare_widths)
    for width in (options.width, *sizes):
        expect_reach(asked.network(width), asked.likelihood, len(asked.y))
        expect_accuracy(asked.posterior(width), options.within)
    posterior = asked.posterior(options.width)
    rng = np.random.default_rng(options.seed)
    with progress.Progress(STAGES + len(sizes)) as watch:
        try:
            found = compute(posterior, around(asked.X), rng, asked.held_out, options.within, watch)
            more = [widths.compare(asked.posterior, sizes, rng, options.within, watch)] if sizes else []
        except NotAMode as error:
            raise DataError(f"no mode was found from which to linearise: {error}") from error
    for path, writer in writers:
        files.write(path, [writer(found, more)])
    return report.text(found, more)


def _asked(options: argparse.Namespace) -> Problem:
    try:
        return _problem(options)
    except ValueError as error:
        raise DataError(str(error)) from error


def _problem(options: argparse.Namespace) -> Problem:
    if (options.dataset is None) == (options.data is None):
        got = "both" if options.data else "neither"
        raise DataError(f"expected a built-in data set ({', '.join(DATASETS)}) or --data FILE, got {got}")
    as_positive("--within", options.within)
    as_count("--seed", options.seed, 0)
    made = _from_file(options) if options.data else _built_in(options)
    return made.holding_out(options.hold_out) if options.hold_out is not None else made


def _built_in(options: argparse.Namespace) -> Problem:
    chosen = DATASETS[options.dataset]
    inputs = _names(options.inputs) if options.inputs else chosen.inputs
    noise = chosen.noise_variance if options.noise_variance is None else options.noise_variance
    return problem(chosen.columns, inputs, options.target or chosen.target, options.likelihood or chosen.likelihood, noise,
                   options.prior_precision, options.activation)


def _from_file(options: argparse.Namespace) -> Problem:
    if not options.target or not options.inputs:
        raise DataError("--data: expected --target NAME and --inputs A,B with it")
    cells, wanted = read_csv(options.data), (*_names(options.inputs), options.target)
    columns = {name: cells.numbers(name) if name in wanted else column for name, column in cells.columns.items()}
    noise = NOISE if options.noise_variance is None else options.noise_variance
    return problem(columns, _names(options.inputs), options.target, options.likelihood or "normal", noise,
                   options.prior_precision, options.activation)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _real(text: str) -> float:
    return _read(float, "a number in digits", text)


def _integer(text: str) -> int:
    return _read(int, "an integer in digits", text)


def _read(number: Callable[[str], float], expected: str, text: str) -> float:
    try:
        return in_digits(number, text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}") from None


def _width(text: str) -> int:
    value = _integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of hidden units, got {text}")
    return value


def _widths(text: str | None) -> Sequence[int]:
    try:
        return [_width(part) for part in text.split(",")] if text else []
    except (ValueError, argparse.ArgumentTypeError):
        raise DataError(f"--compare-widths: expected integers such as 1,2,3, got {text}") from None
