"""The two pictures: ratios of every peer, and growth in N and in P."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from tests.benchmarks.goals import GOALS, ratio_to
from tests.benchmarks.scaling import BY_PARAMS, slope

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

MARKERS = "osD^vP*X"


def ratios(results: dict, folder: Path) -> Path:
    """A panel a quantity: cases down, peer / refbnn along a log axis, the must against the best peer as a line."""
    quantities = list(dict.fromkeys(quantity for quantity, _ in results))
    names = list(dict.fromkeys(t.name for timings in results.values() for t in timings if t.name != "refbnn"))
    columns = min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 2.3 * rows + 0.8), squeeze=False)
    for axis, quantity in zip(axes.flat, quantities):
        _panel(axis, quantity, [(case, timings) for (name, case), timings in results.items() if name == quantity], names)
    for axis in axes.flat[len(quantities):]:
        axis.set_visible(False)
    handles = [plt.Line2D([], [], color=f"C{i}", marker=MARKERS[i % 8], linestyle="", label=name) for i, name in enumerate(names)]
    figure.legend(handles=handles, loc="lower center", ncols=len(names), frameon=False, fontsize=9)
    figure.suptitle("CPU time of peer / refbnn, one thread (right of 1: refbnn is faster; dotted: the least that is promised)")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return _save(figure, folder / "ratios.svg")


def _panel(axis, quantity: str, cases, names: list[str]) -> None:
    for row, (case, timings) in enumerate(cases):
        for i, name in enumerate(names):
            ratio = ratio_to(name, timings)
            if ratio is not None:
                axis.plot(ratio, row, MARKERS[i % 8], color=f"C{i}", markersize=6, alpha=0.85)
        for goal in GOALS:
            if goal.covers(quantity, case) and goal.rival in ("peers", "jax"):
                axis.plot([goal.must] * 2, [row - 0.4, row + 0.4], ":", color="0.3")
    axis.axvline(1, color="0.6", linewidth=1)
    axis.set_xscale("log")
    _plain_ticks(axis.xaxis)
    axis.set_yticks(range(len(cases)), [case for case, _ in cases])
    axis.set_ylim(len(cases) - 0.4, -0.6)
    axis.set_title(quantity, fontsize=10)
    axis.grid(axis="x", alpha=0.3)


def growth(curves: dict, folder: Path) -> Path:
    """Seconds over N and over P on log-log axes, with the measured exponents."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
    labels = {"N": "data N (8-50-50-1)", "P": "parameters P (8-h-h-1, N = " + str(BY_PARAMS[0].num_data) + ")"}
    for axis, (size, label) in zip(axes, labels.items()):
        for i, (quantity, curve) in enumerate(curves[size].items()):
            sizes, seconds = np.array(curve).T
            axis.loglog(sizes, seconds, MARKERS[i] + "-", color=f"C{i}", label=f"{quantity}: exponent {slope(curve):.2f}")
        _plain_ticks(axis.xaxis)
        _plain_ticks(axis.yaxis)
        axis.set_xlabel(label)
        axis.set_ylabel("CPU seconds")
        axis.grid(alpha=0.3, which="both")
        axis.legend(frameon=False)
    figure.tight_layout()
    return _save(figure, folder / "growth.svg")


def _plain_ticks(axis) -> None:
    """1, 2 and 5 in every decade, as plain numbers: the default labels overlap when an axis spans less than two."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _save(figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)
    return path
