"""Small cases by a plan: every activation with every likelihood, and with it all that a case may vary, pair by pair.

A row of the table is a case. The rows are a covering array: each brings pairs of levels of two factors that no row before it
has (built greedily, as by Cohen, Dalal, Fredman & Patton 1997, and then written down, so that none changes when one is added).
A depth of 0 has no activation: its rows say identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any, Callable

from .awkward import doubled, first_layer_times
from .certify import as_fraction
from .derive import Derivation
from .designs import FULL, PER_PARAMETER, PRECISION, VARIANCE, Design, F
from .fields import Rational
from .mode import near_mode
from .question import PAIRED, Question
from .structured import CUTS, DEGREES, DISPERSION, NOISE, SCALE, SHAPE, away_from_zero, loose, negative

Change = Callable[[Question], Question]


@dataclass(frozen=True)
class Row:
    """Levels of all factors, as the columns of the table."""

    activation: str
    likelihood: str
    hidden: str         # layers
    bias: str           # bias, plain
    prior: str          # isotropic, layers, diagonal, dense
    mean: str           # zero, number, array
    theta: str          # random, near (a mode), fitted, weightless, saturated, large
    data: str           # one, few (fewer than parameters), many
    inputs: str         # distinct, twice, collinear
    reach: str          # small, usual, wide

    @property
    def id(self) -> str:
        """What the row is, in words."""
        words = ("grid", self.activation, self.likelihood, *self.sizes, "" if self.bias == "bias" else "no-bias",
                 "" if self.theta == "random" else self.theta)
        return "-".join(str(word).replace("_", "-") for word in words if word != "")

    @property
    def sizes(self) -> tuple[int, ...]:
        """As small as they can be: two outputs where a likelihood has two, two inputs where these are to be collinear."""
        k = 2 if self.likelihood in (*PAIRED, "normal_full", "categorical") else 1
        d = 2 if self.inputs == "collinear" else 1
        between = {"0": (), "1": (2,), "2": (1, 2) if k == 1 else (1, 1), "3": (1, 1, 1)}[self.hidden]
        return (d if between else 2, *between, k)

    @property
    def title(self) -> str:
        depth = ("No hidden layer", "One hidden layer", "Two hidden layers", "Three hidden layers")[int(self.hidden)]
        given = f"{DATA[self.data][0]}, {INPUTS[self.inputs][0]} up to {REACH[self.reach]}"
        return f"{depth}, {BIAS[self.bias]}; {PRIORS[self.prior][0]}, mean {self.mean}; {THETA[self.theta]}; {given}"


def collinear(question: Question) -> Question:
    """The second input is minus the first."""
    return replace(question, X=[[row[0], -row[0], *row[2:]] for row in question.X])


BIAS = {"bias": "biases", "plain": "no biases"}
PRIORS = {"isotropic": ("one prior precision", ("isotropic", PRECISION)), "layers": ("a prior precision a layer", None),
          "diagonal": ("a prior precision a parameter", PER_PARAMETER), "dense": ("full prior precision", FULL)}
MEANS = {"zero": F(0), "number": F(-19, 64), "array": "array"}
THETA = {"random": "any θ", "near": "θ near a mode", "fitted": "θ fits every target exactly",
         "weightless": "output weights zero", "saturated": "first layer times 8", "large": "θ up to 3"}
DATA = {"one": ("one datum", 1), "few": ("three data", 3), "many": ("nine data", 9)}
INPUTS = {"distinct": ("distinct inputs", None), "twice": ("inputs and targets twice", doubled),
          "collinear": ("inputs on a line", collinear)}
REACH = {"small": F(1, 4), "usual": F(2), "wide": F(12)}
SMALL = 4     # parameters, up to which a case has full matrices
LAYERS = [F(83, 64), F(29, 64), F(173, 256), F(211, 128)]
PARAMETERS: dict[str, dict[str, Any]] = {
    "normal_full": {"noise": [row[:2] for row in NOISE[:2]]}, "student_t": {"scale": SCALE, "degrees_of_freedom": DEGREES},
    "heteroscedastic_student_t": {"degrees_of_freedom": DEGREES}, "negative_binomial": {"dispersion": DISPERSION},
    "ordinal": {"cut_points": CUTS}, "gamma": {"shape": SHAPE}}


def weightless(question: Question) -> Question:
    """Output weights of zero: the biases alone are seen, and of a hidden weight only what it does together with one of these."""
    start, (into, out) = question.num_params - question.layer_sizes[-1], question.sizes[-2:]
    return replace(question, theta=[F(0) if start <= i < start + out * into else v for i, v in enumerate(question.theta)])


def fitted(question: Question) -> Question:
    """θ and X in quarters, and y = f(x, θ): residuals are exactly zero."""
    def quarters(v: Fraction) -> Fraction:
        return F(round(v * 4) or 1, 4)
    q = replace(question, theta=[quarters(v) for v in question.theta], X=[[quarters(v) for v in row] for row in question.X])
    outputs = Derivation(q, Rational()).output_jets
    return replace(q, y=[[as_fraction(a.value) for a in f] for f in outputs])


CHANGES: dict[str, Change] = {"near": near_mode, "weightless": weightless, "fitted": fitted,
                              "saturated": partial(first_layer_times, factor=8)}
DOMAINS: dict[str, Change] = {"poisson_square": away_from_zero, "heteroscedastic_natural": negative, "heteroscedastic": loose}


def design(row: Row) -> Design:
    """The case of a row. Its bias is what a likelihood's domain is reached by: without one, outputs are as they are."""
    kind = PRIORS[row.prior][1] or ("per_layer", LAYERS[:len(row.sizes) - 1])
    domain = DOMAINS.get(row.likelihood) if row.bias == "bias" else None
    changes = [change for change in (domain, INPUTS[row.inputs][1], CHANGES.get(row.theta)) if change]
    flags = [flag for flag, there in (("saturated", row.theta == "saturated"), ("exact-zero", row.theta == "fitted")) if there]
    return Design(
        row.id, row.title, row.sizes, row.activation, row.likelihood, num_data=DATA[row.data][1], family="grid",
        bias=row.bias == "bias", slope=F(1, 8) if row.activation == "leaky_relu" else None,
        variance=VARIANCE if row.likelihood == "normal" else None, prior=kind, mean=MEANS[row.mean],
        scale=F(3) if row.theta == "large" else F(1), reach=REACH[row.reach], counts=(0, 3), spread=F(3, 2),
        parameters=PARAMETERS.get(row.likelihood, {}), flags=tuple(flags), num_new=2, num_draws=2,
        matrices=_num_params(row) <= SMALL, change=_together(changes))


def _num_params(row: Row) -> int:
    return sum(out * (into + (row.bias == "bias")) for into, out in zip(row.sizes, row.sizes[1:]))


def _together(changes: list[Change]) -> Change | None:
    """One after the other."""
    def change(question: Question) -> Question:
        for each in changes:
            question = each(question)
        return question
    return change if changes else None


TABLE = """
erf        normal                            2 bias  diagonal  zero   near       many collinear usual
sigmoid    normal_full                       2 bias  layers    number large      one  collinear wide
softplus   normal_full                       1 plain dense     zero   near       many distinct  wide
sin        normal_full                       3 bias  layers    array  large      one  collinear usual
silu       normal_full                       2 plain isotropic array  random     many twice     wide
gelu_tanh  normal_full                       1 plain layers    number near       few  twice     wide
erf        normal_full                       3 plain isotropic zero   near       few  distinct  usual
relu       normal_full                       1 bias  layers    array  fitted     one  collinear usual
square     normal_full                       1 bias  layers    number weightless few  twice     small
identity   normal_full                       0 plain isotropic array  fitted     many distinct  usual
identity   normal_full                       1 plain diagonal  number fitted     few  twice     usual
sigmoid    heteroscedastic                   1 bias  diagonal  zero   saturated  many distinct  small
softplus   heteroscedastic                   1 bias  dense     number weightless many collinear small
silu       heteroscedastic                   1 plain dense     array  random     one  distinct  usual
gelu       heteroscedastic                   2 plain isotropic zero   random     few  twice     usual
gelu_tanh  heteroscedastic                   2 plain layers    number random     many twice     usual
erf        heteroscedastic                   1 bias  isotropic number weightless one  collinear small
relu       heteroscedastic                   3 bias  layers    number weightless one  collinear small
leaky_relu heteroscedastic                   1 plain layers    number random     many distinct  small
square     heteroscedastic                   3 plain isotropic zero   random     few  twice     small
softplus   student_t                         1 plain diagonal  array  large      few  collinear usual
sin        student_t                         3 plain isotropic array  random     one  collinear wide
silu       student_t                         2 plain layers    number large      few  twice     small
gelu       student_t                         1 plain dense     number large      one  collinear usual
gelu_tanh  student_t                         1 plain dense     number large      few  distinct  small
relu       student_t                         1 bias  dense     zero   random     many twice     usual
leaky_relu student_t                         1 bias  dense     number large      one  collinear usual
square     student_t                         1 bias  diagonal  number weightless one  distinct  small
sigmoid    heteroscedastic_natural           1 bias  layers    number saturated  few  twice     wide
softplus   heteroscedastic_natural           2 bias  diagonal  number weightless many twice     small
sin        heteroscedastic_natural           2 bias  layers    zero   weightless one  distinct  small
gelu       heteroscedastic_natural           3 bias  isotropic number random     few  twice     small
gelu_tanh  heteroscedastic_natural           1 bias  dense     number random     few  distinct  usual
erf        heteroscedastic_natural           2 bias  layers    array  weightless many collinear small
relu       heteroscedastic_natural           3 bias  dense     number weightless many twice     small
leaky_relu heteroscedastic_natural           2 bias  diagonal  zero   random     one  collinear usual
square     heteroscedastic_natural           2 bias  isotropic number weightless few  distinct  usual
identity   heteroscedastic_natural           0 bias  dense     array  random     one  distinct  usual
identity   heteroscedastic_natural           3 bias  layers    array  weightless many twice     small
sigmoid    heteroscedastic_precision         2 plain layers    number saturated  one  collinear wide
softplus   heteroscedastic_precision         2 plain layers    array  random     many collinear usual
silu       heteroscedastic_precision         2 bias  dense     array  random     one  collinear small
gelu       heteroscedastic_precision         3 plain dense     array  random     many collinear small
gelu_tanh  heteroscedastic_precision         3 bias  layers    array  random     many collinear small
erf        heteroscedastic_precision         1 plain isotropic number random     one  distinct  small
relu       heteroscedastic_precision         2 bias  diagonal  zero   weightless few  twice     small
leaky_relu heteroscedastic_precision         2 plain isotropic zero   random     few  twice     usual
square     heteroscedastic_precision         2 plain diagonal  zero   random     many distinct  small
identity   heteroscedastic_precision         0 bias  layers    zero   weightless one  collinear small
identity   heteroscedastic_precision         3 bias  dense     number weightless one  distinct  usual
sigmoid    heteroscedastic_student_t         3 plain isotropic array  random     many twice     usual
softplus   heteroscedastic_student_t         1 bias  isotropic array  weightless many collinear usual
sin        heteroscedastic_student_t         2 plain dense     zero   saturated  few  distinct  wide
silu       heteroscedastic_student_t         1 plain diagonal  number random     few  twice     usual
gelu_tanh  heteroscedastic_student_t         3 plain diagonal  number random     many collinear small
erf        heteroscedastic_student_t         2 plain diagonal  zero   random     one  distinct  usual
relu       heteroscedastic_student_t         3 bias  layers    number random     one  distinct  small
leaky_relu heteroscedastic_student_t         3 plain diagonal  array  random     many collinear small
square     heteroscedastic_student_t         3 bias  dense     zero   random     one  distinct  usual
identity   heteroscedastic_student_t         0 bias  dense     array  random     many collinear small
identity   heteroscedastic_student_t         2 bias  diagonal  array  weightless many twice     usual
sigmoid    heteroscedastic_gamma             2 plain dense     array  saturated  many twice     wide
sin        heteroscedastic_gamma             3 plain layers    number saturated  one  collinear wide
silu       heteroscedastic_gamma             3 bias  dense     zero   weightless one  distinct  usual
gelu       heteroscedastic_gamma             1 plain isotropic number random     few  twice     small
gelu_tanh  heteroscedastic_gamma             2 plain layers    zero   random     one  distinct  small
erf        heteroscedastic_gamma             2 bias  diagonal  zero   random     one  distinct  small
relu       heteroscedastic_gamma             1 bias  isotropic array  weightless few  twice     usual
leaky_relu heteroscedastic_gamma             1 plain isotropic number random     few  twice     small
square     heteroscedastic_gamma             3 bias  diagonal  zero   weightless one  distinct  usual
identity   heteroscedastic_gamma             0 bias  diagonal  number weightless many collinear small
identity   heteroscedastic_gamma             3 plain diagonal  array  random     many collinear usual
sigmoid    heteroscedastic_negative_binomial 3 plain layers    array  saturated  one  distinct  wide
softplus   heteroscedastic_negative_binomial 3 plain dense     array  random     few  twice     usual
sin        heteroscedastic_negative_binomial 1 plain isotropic number saturated  many twice     wide
silu       heteroscedastic_negative_binomial 3 bias  isotropic zero   weightless one  distinct  usual
gelu       heteroscedastic_negative_binomial 3 bias  isotropic zero   weightless one  distinct  usual
gelu_tanh  heteroscedastic_negative_binomial 2 bias  isotropic zero   weightless many twice     small
relu       heteroscedastic_negative_binomial 3 bias  layers    number weightless few  twice     small
leaky_relu heteroscedastic_negative_binomial 3 bias  isotropic zero   weightless few  distinct  small
square     heteroscedastic_negative_binomial 3 plain diagonal  array  random     one  distinct  usual
identity   heteroscedastic_negative_binomial 0 bias  dense     number random     few  twice     small
identity   heteroscedastic_negative_binomial 3 plain dense     array  random     one  collinear small
gelu_tanh  bernoulli                         3 plain diagonal  zero   random     one  collinear usual
erf        bernoulli                         3 bias  layers    array  weightless many collinear small
relu       bernoulli                         1 plain isotropic number near       few  twice     wide
leaky_relu bernoulli                         2 bias  dense     array  large      many distinct  small
softplus   bernoulli_probit                  1 plain dense     number near       many distinct  wide
sin        bernoulli_probit                  2 bias  layers    zero   saturated  one  collinear wide
gelu       bernoulli_probit                  2 bias  dense     zero   random     one  distinct  usual
gelu_tanh  bernoulli_probit                  1 plain isotropic zero   large      one  distinct  small
erf        bernoulli_probit                  3 bias  layers    array  weightless few  twice     small
relu       bernoulli_probit                  1 plain dense     array  near       many collinear wide
leaky_relu bernoulli_probit                  2 bias  diagonal  array  near       many twice     wide
square     bernoulli_probit                  2 plain diagonal  zero   random     one  collinear usual
softplus   bernoulli_cloglog                 3 bias  layers    number near       few  twice     usual
sin        bernoulli_cloglog                 3 plain dense     zero   saturated  one  distinct  wide
silu       bernoulli_cloglog                 3 bias  diagonal  number random     few  distinct  small
gelu       bernoulli_cloglog                 1 plain layers    number near       many collinear usual
gelu_tanh  bernoulli_cloglog                 1 plain layers    array  near       many collinear small
erf        bernoulli_cloglog                 3 plain dense     array  near       many twice     usual
relu       bernoulli_cloglog                 1 bias  diagonal  zero   weightless many collinear small
leaky_relu bernoulli_cloglog                 2 plain dense     array  random     one  distinct  usual
square     bernoulli_cloglog                 3 plain isotropic number random     many twice     small
softplus   categorical                       2 plain isotropic zero   random     one  collinear wide
sin        categorical                       2 plain diagonal  zero   random     one  distinct  usual
gelu       categorical                       2 plain dense     number large      few  twice     usual
gelu_tanh  categorical                       1 bias  isotropic zero   random     many distinct  wide
leaky_relu categorical                       1 bias  layers    number weightless many collinear wide
square     categorical                       3 plain dense     array  random     few  twice     small
sigmoid    ordinal                           1 plain dense     zero   saturated  one  distinct  wide
softplus   ordinal                           2 plain dense     array  random     one  collinear wide
sin        ordinal                           2 bias  isotropic number weightless few  twice     wide
gelu       ordinal                           2 bias  isotropic zero   near       few  distinct  wide
gelu_tanh  ordinal                           2 plain diagonal  array  near       many collinear wide
erf        ordinal                           1 plain isotropic array  near       few  collinear small
relu       ordinal                           1 bias  diagonal  zero   large      many distinct  small
leaky_relu ordinal                           1 plain isotropic zero   near       few  distinct  wide
square     ordinal                           3 plain layers    number random     few  twice     usual
sigmoid    poisson                           3 plain layers    array  saturated  many twice     wide
silu       poisson                           2 plain diagonal  zero   random     one  distinct  usual
gelu_tanh  poisson                           1 bias  isotropic array  weightless many collinear usual
relu       poisson                           3 bias  dense     number random     few  twice     small
square     poisson                           2 plain diagonal  array  random     many twice     small
sigmoid    poisson_softplus                  2 bias  dense     number saturated  few  collinear wide
softplus   poisson_softplus                  2 plain dense     array  large      one  distinct  small
silu       poisson_softplus                  2 plain layers    number near       many twice     wide
gelu       poisson_softplus                  2 bias  diagonal  zero   near       few  distinct  wide
erf        poisson_softplus                  3 plain diagonal  array  random     few  twice     small
relu       poisson_softplus                  1 plain isotropic array  large      one  distinct  usual
leaky_relu poisson_softplus                  3 plain layers    zero   near       few  twice     usual
square     poisson_softplus                  2 bias  layers    zero   weightless many collinear small
identity   poisson_softplus                  0 plain isotropic number near       few  twice     wide
identity   poisson_softplus                  1 plain diagonal  zero   random     few  collinear wide
sigmoid    poisson_square                    1 bias  diagonal  array  saturated  many collinear wide
softplus   poisson_square                    3 bias  dense     zero   random     one  collinear usual
sin        poisson_square                    2 bias  diagonal  array  saturated  many twice     wide
gelu       poisson_square                    1 bias  diagonal  number weightless one  distinct  usual
gelu_tanh  poisson_square                    2 bias  dense     zero   weightless one  distinct  usual
erf        poisson_square                    1 bias  isotropic array  weightless one  collinear small
relu       poisson_square                    3 bias  layers    zero   weightless one  collinear small
leaky_relu poisson_square                    3 bias  isotropic array  weightless few  twice     small
square     poisson_square                    1 bias  isotropic number weightless few  distinct  small
identity   poisson_square                    0 bias  layers    zero   weightless few  twice     small
identity   poisson_square                    2 bias  diagonal  number random     one  distinct  usual
sigmoid    negative_binomial                 3 bias  layers    zero   saturated  one  distinct  wide
sin        negative_binomial                 1 plain isotropic zero   near       few  distinct  wide
silu       negative_binomial                 1 plain isotropic array  near       many collinear small
gelu_tanh  negative_binomial                 2 plain layers    array  near       many twice     usual
erf        negative_binomial                 1 plain diagonal  array  random     few  distinct  usual
relu       negative_binomial                 2 bias  dense     number weightless few  twice     usual
leaky_relu negative_binomial                 2 bias  layers    zero   near       many distinct  usual
square     negative_binomial                 1 plain dense     zero   near       many twice     usual
sigmoid    gamma                             2 bias  layers    zero   weightless few  distinct  wide
softplus   gamma                             1 plain diagonal  number random     one  collinear usual
sin        gamma                             1 bias  diagonal  array  saturated  few  twice     wide
gelu       gamma                             3 bias  isotropic array  near       many collinear small
gelu_tanh  gamma                             3 plain isotropic zero   near       few  distinct  usual
relu       gamma                             3 bias  dense     number near       few  twice     usual
leaky_relu gamma                             1 bias  diagonal  number random     few  twice     usual
square     gamma                             3 plain isotropic zero   near       few  distinct  small
"""
ROWS = [Row(*line.split()) for line in TABLE.strip().splitlines()]
GRID = [design(row) for row in ROWS]
