"""Conventions of notation: signs, units, divisors, what a derivative is by, and how the numbers of an answer are laid out.

Each row is a table of choices for some quantities. They apply after every other convention; those of `LAYOUTS` only move
numbers, so the diagnosis undoes them before it searches.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from .quantities import QUANTITIES, Quantity, axis_sizes

Array = NDArray[np.float64]
Settings = Mapping[str, str]
Change = Callable[[Array, Any], Array]
Choices = dict[str, tuple[str, Change]]


@dataclass(frozen=True)
class Axis:
    """One convention: its allowed values with their meaning (the first is the default), the conversion, what it touches."""

    name: str
    meanings: dict[str, str]
    apply: Callable[[Quantity, Array, Any, Settings], Array]
    touches: Callable[[Quantity], bool]

    @property
    def default(self) -> str:
        """The first value."""
        return next(iter(self.meanings))


def _axis(name: str, touches: Callable[[Quantity], bool], choices: Choices) -> Axis:
    def apply(quantity: Quantity, value: Array, problem: Any, settings: Settings) -> Array:
        return choices[settings[name]][1](value, problem) if touches(quantity) else value
    return Axis(name, {choice: meaning for choice, (meaning, _) in choices.items()}, apply, touches)


def _only(*names: str) -> Callable[[Quantity], bool]:
    """The quantities of these names; ending in an asterisk, of such a beginning; beginning with one, of such an end."""
    whole = {q for q in QUANTITIES for name in names
             if q == name or (name.endswith("*") and q.startswith(name[:-1])) or (name.startswith("*") and q.endswith(name[1:]))}
    return lambda quantity: quantity.name in whole


def _same(value: Array, problem: Any) -> Array:
    return value


def _times(factor: Callable[[Any], float]) -> Change:
    return lambda value, problem: value * factor(problem)


def _negated(value: Array, problem: Any) -> Array:
    return -value


def _transposed(*axes: int) -> Change:
    return lambda value, problem: value.transpose(axes)


def _square(value: Array, problem: Any) -> Array:
    """The first half of the axes against the second."""
    rows = math.prod(value.shape[:value.ndim // 2])
    return value.reshape(rows, -1)


def _traced(value: Array, problem: Any) -> Array:
    return np.einsum("nkmk->nm", value)


def _packed(indices: Callable[[int], tuple[Array, Array]]) -> Change:
    return lambda value, problem: value[indices(len(value))]


BOUNDS = ("vi.elbo", "vi.full.elbo", "vi.optimum.elbo", "vi.optimum.meanfield.elbo")
_BOUNDS = _only(*BOUNDS, "vi.elbo.gradient*", "vi.full.elbo.gradient*")


# Scalings --------------------------------------------------------------------------------------------------------------

SCALINGS = (
    _axis("loss.sign", _only("loss", "gradient", "hessian*"), {
        "loss": ("loss, gradient and Hessian are those of −log p(y | f)", _same),
        "log_likelihood": ("they are those of log p(y | f), negated (GGN and Fisher are not)", _negated)}),
    _axis("loss.unit", _only("loss"), {
        "nats": ("natural logarithms", _same),
        "bits": ("logarithms to base 2", _times(lambda problem: 1 / math.log(2)))}),
    _axis("log_joint.sign", _only("log_joint"), {
        "density": ("log p(y, θ), which goes up", _same),
        "energy": ("the potential energy −log p(y, θ)", _negated)}),
    _axis("evidence.sign", _only("*.log_evidence"), {
        "log_evidence": ("log p(y), which goes up", _same),
        "negative": ("−log p(y), to be minimised", _negated)}),
    _axis("evidence.reduction", _only("*.log_evidence"), {
        "sum": ("of all data", _same),
        "mean": ("divided by N", _times(lambda problem: 1 / len(problem.X)))}),
    _axis("evidence.prior.by", _only("laplace.evidence.prior"), {
        "log_precision": ("slope by log τ", _same),
        "log_variance": ("slope by the logarithm of the prior variance", _negated),
        "log_std": ("slope by the logarithm of the prior standard deviation", _times(lambda problem: -2.0))}),
    _axis("evidence.noise.by", _only("laplace.evidence.noise"), {
        "log_variance": ("slope by log σ²", _same),
        "log_std": ("slope by log σ", _times(lambda problem: 2.0)),
        "variance": ("slope by σ²", _times(lambda problem: 1 / problem.variance)),
        "std": ("slope by σ", _times(lambda problem: 2 / math.sqrt(problem.variance))),
        "log_precision": ("slope by log 1/σ²", _negated),
        "precision": ("slope by 1/σ²", _times(lambda problem: -problem.variance))}),
    _axis("log_det.of", _only("*.log_det"), {
        "precision": ("log |P|", _same),
        "covariance": ("log |P⁻¹| = −log |P|", _negated)}),
    _axis("log_det.factor", _only("*.log_det"), {
        "one": ("log |P|", _same),
        "half": ("½ log |P|, the logarithm of a root's determinant", _times(lambda problem: 0.5))}),
    _axis("vi.sign", _BOUNDS, {
        "elbo": ("the bound and its slopes, which go up", _same),
        "negative": ("−ELBO and its slopes, to be minimised", _negated)}),
    _axis("vi.reduction", _BOUNDS, {
        "sum": ("of all data", _same),
        "mean": ("the bound and its slopes divided by N", _times(lambda problem: 1 / len(problem.X)))}),
    _axis("kfac.reduction", _only("*.kfac", "*.kfra"), {
        "one_mean": ("of the two factors the one of the inputs is averaged over data", _same),
        "both_means": ("both factors are averaged: divided by N", _times(lambda problem: 1 / len(problem.X))),
        "both_sums": ("neither factor is averaged: times N", _times(lambda problem: float(len(problem.X))))}),
    _axis("fisher.centred.divisor", _only("fisher.empirical.centred"), {
        "data": ("as defined", _same),
        "unbiased": ("times N/(N − 1), as of an unbiased covariance (N > 1)",
                     _times(lambda problem: len(problem.X) / max(len(problem.X) - 1, 1)))}),
)


# Forms of marginals, Laplace of a mean loss ------------------------------------------------------------------------------

def _laplace_of_mean(quantity: Quantity, value: Array, problem: Any, settings: Settings) -> Array:
    if settings["laplace.reduction"] == "sum" or not _OF_MEAN(quantity):
        return value
    return value / len(problem.X) if quantity.name == "laplace.precision" else value * len(problem.X)


_OF_MEAN = _only("laplace.precision", "laplace.covariance", "laplace.covariance.diag", "laplace.covariance.vp")
MARGINALS = _only("laplace.covariance.diag", "laplace.diag.variance")
VARIATIONAL = _only("vi.optimum.meanfield.variance")
_OF_MARGINALS: Choices = {
    "variance": ("marginal variances", _same),
    "std": ("marginal standard deviations", lambda value, problem: np.sqrt(value)),
    "precision": ("one over the marginal variances", lambda value, problem: 1 / value)}
FORMS = (
    Axis("laplace.reduction", {
        "sum": "the precision is that of the summed loss",
        "mean": "the loss and the prior are divided by N: P/N, and N P⁻¹ (laplace.precision, laplace.covariance, .diag, .vp)"},
        _laplace_of_mean, _OF_MEAN),
    _axis("laplace.marginals", MARGINALS, _OF_MARGINALS),
    _axis("vi.marginals", VARIATIONAL, _OF_MARGINALS),
    _axis("ntk.outputs", _only("ntk"), {
        "full": ("n k n k", _same),
        "trace": ("n n, summed over equal outputs", _traced),
        "mean": ("n n, averaged over equal outputs", lambda value, problem: _traced(value, problem) / value.shape[1])}),
)


# Layouts -------------------------------------------------------------------------------------------------------------------

_PAIRS: Choices = {
    "data_outputs": ("data and output, then data and output", _same),
    "data_data": ("both data axes first", lambda value, problem: value.transpose(0, 2, 1, 3) if value.ndim == 4 else value),
    "matrix": ("one matrix, outputs within data", lambda value, problem: _square(value, problem) if value.ndim == 4 else value)}
_OUTPUTS = _only("forward", "jacobian.vp", "predictive.glm.mean", "predictive.probit", "predictive.probit.multiclass",
                 "predictive.mc")
LAYOUTS = (
    _axis("jacobian.axes", _only("jacobian"), {
        "data_outputs_parameters": ("n k p", _same),
        "outputs_data_parameters": ("k n p", _transposed(1, 0, 2)),
        "data_parameters_outputs": ("n p k", _transposed(0, 2, 1)),
        "matrix": ("nk p, outputs within data", lambda value, problem: value.reshape(-1, value.shape[-1]))}),
    _axis("ntk.axes", _only("ntk"), _PAIRS),
    _axis("predictive.joint.axes", _only("predictive.joint"), _PAIRS),
    _axis("outputs.axes", _OUTPUTS, {
        "data_first": ("one row a datum", _same),
        "data_last": ("one column a datum", lambda value, problem: value.T)}),
    _axis("outputs.squeeze", _OUTPUTS, {
        "kept": ("a single output has an axis of its own", _same),
        "squeezed": ("a single output has no axis", lambda value, problem: value.ravel() if 1 in value.shape[-2:] else value)}),
    _axis("symmetric.storage", lambda quantity: quantity.kind == "symmetric", {
        "full": ("the full matrix", _same),
        "lower_packed": ("the lower triangle, row by row, in one axis", _packed(np.tril_indices)),
        "upper_packed": ("the upper triangle, row by row, in one axis", _packed(np.triu_indices))}),
)
SAMPLED = (
    _axis("draws.axes", lambda quantity: quantity.kind == "draws", {
        "chains_draws": ("draws from a posterior are (chains, draws, p)", _same),
        "draws_chains": ("they are (draws, chains, p)", _transposed(1, 0, 2))}),
)
NOTATIONS = (*SCALINGS, *FORMS, *LAYOUTS, *SAMPLED)


def undone(quantity: Quantity, answer: Array, problem: Any, settings: Settings) -> Array:
    """The answer with its numbers where they are without any of `LAYOUTS`; as it is if its shape is not of that layout."""
    shape = tuple(axis_sizes(problem)[letter] for letter in QUANTITIES[quantity.certified_by].axes.split())
    places = np.arange(math.prod(shape)).reshape(shape)
    laid = places
    for axis in LAYOUTS:
        laid = axis.apply(quantity, laid, problem, settings)
    if laid.shape != answer.shape or laid is places:
        return answer
    plain = np.zeros(math.prod(shape))
    plain[laid.ravel()] = answer.ravel()
    plain = plain.reshape(shape)
    return plain if laid.size == plain.size else plain + plain.T - np.diag(np.diag(plain))
