"""Route A, likelihoods: ℓ = −log p(y | f) from the density alone. Derivatives come from power series in f, Fisher matrices from
expectations: sums over the outcomes, or the moments of the noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flint

from .jets import Jet, total, variable
from .question import Question

if TYPE_CHECKING:
    from .fields import Interval, Rational

Moments = list[list[Any]]


class Family:
    """One likelihood in one field. Members give `loss`, `constant`, `moments` and `mean`."""

    def __init__(self, q: Question, field: Rational | Interval) -> None:
        self.q, self.field = q, field
        self.zero, self.one = field.number(0), field.number(1)

    def loss(self, f: list[Jet], y: Any) -> Jet:
        """ℓ(y, f) up to terms without f."""
        raise NotImplementedError

    def constant(self, y: Any) -> Any:
        """The terms of ℓ without f."""
        return self.zero

    def moments(self, f: list) -> Moments:
        """E[r rᵀ] over y ~ p(y | f). None marks an exact zero: independent outputs whose scores have mean zero."""
        raise NotImplementedError

    def mean(self, f: list) -> list:
        """E[y | f]."""
        raise NotImplementedError

    def probability(self, loss: Any) -> Any:
        return self.field.exp(-loss)


class Normal(Family):
    """N(f, σ²)."""

    def loss(self, f: list[Jet], y: list) -> Jet:
        half = self.one / (self.q.variance + self.q.variance)
        residuals = [a.shifted(-b) for a, b in zip(f, y)]
        return total([(r * r).scaled(half) for r in residuals])

    def constant(self, y: list) -> Any:
        return self.field.log(self.field.pi() * 2 * self.q.variance) * self.q.num_outputs / 2

    def moments(self, f: list) -> Moments:
        """r = (f − y)/σ² and E (f − y)² = σ²."""
        moment = self.q.variance / (self.q.variance * self.q.variance)
        return diagonal([moment] * len(f))

    def mean(self, f: list) -> list:
        return f


class NormalFull(Normal):
    """N(f, V), through the inverse of V."""

    @property
    def noise(self) -> list[list]:
        return self.q.parameters["noise"]

    def loss(self, f: list[Jet], y: list) -> Jet:
        W = self.field.matrix(self.noise).inv().tolist()
        e = [a.shifted(-b) for a, b in zip(f, y)]
        half = self.one / 2
        return total([(a * b).scaled(W[i][j] * half) for i, a in enumerate(e) for j, b in enumerate(e)])

    def constant(self, y: list) -> Any:
        two_pi = self.field.pi() * 2
        return (self.field.log(two_pi) * len(y) + self.field.log(self.field.matrix(self.noise).det())) / 2

    def moments(self, f: list) -> Moments:
        """r = V⁻¹ (f − y) and E (f − y)(f − y)ᵀ = V."""
        V = self.field.matrix(self.noise)
        return (V.inv() * V * V.inv().transpose()).tolist()


class Categorical(Family):
    """softmax(f)."""

    def loss(self, f: list[Jet], y: int) -> Jet:
        exponentials = []
        for a in f:
            e = self.field.exp(a.value)
            exponentials.append(a.composed(e, e, e / 2, e / 6))
        together = total(exponentials)
        inverse = self.one / together.value
        log = together.composed(self.field.log(together.value), inverse, -inverse * inverse / 2, inverse * inverse * inverse / 3)
        return log + f[y].scaled(-self.one)

    def moments(self, f: list) -> Moments:
        k = range(len(f))
        jets = [variable(value, i, self.one) for i, value in enumerate(f)]
        outcomes = [self.loss(jets, y) for y in k]
        weighted = [(self.probability(o.value), [o.first[i] for i in k]) for o in outcomes]
        return [[sum((w * r[i] * r[j] for w, r in weighted), self.zero) for j in k] for i in k]

    def mean(self, f: list) -> list:
        return [self.probability(self.loss([Jet(a) for a in f], y).value) for y in range(len(f))]


class Independent(Family):
    """One target an output: a member gives the series of ℓ in one output, without its constants, and one moment."""

    def series(self, t: flint.arb_series, y: Any) -> flint.arb_series:
        """ℓ(y, t) for t = f + ε, up to terms without f."""
        raise NotImplementedError

    def coefficients(self, f: Any, y: Any) -> tuple:
        s = self.series(flint.arb_series([f, 1], 4), y)
        return s[0], s[1], s[2], s[3]

    def loss(self, f: list[Jet], y: list) -> Jet:
        return total([a.composed(*self.coefficients(a.value, b)) for a, b in zip(f, y)])

    def moment(self, f: Any) -> Any:
        """E[(∂ℓ/∂f)²] of one output."""
        raise NotImplementedError

    def moments(self, f: list) -> Moments:
        return diagonal([self.moment(a) for a in f])

    def mean(self, f: list) -> list:
        return [self.mean_of(a) for a in f]

    def mean_of(self, f: Any) -> Any:
        """E[y | f] of one output."""
        raise NotImplementedError


class Levels(Independent):
    """Finitely many outcomes, and no constants: expectations are sums with the probabilities exp(−ℓ)."""

    @property
    def levels(self) -> range:
        return range(2)

    def expectation(self, f: Any, function: Any) -> Any:
        outcomes = [(y, self.coefficients(f, y)) for y in self.levels]
        return sum((self.probability(c[0]) * function(y, c[1]) for y, c in outcomes), self.zero)

    def moment(self, f: Any) -> Any:
        return self.expectation(f, lambda y, r: r * r)

    def mean_of(self, f: Any) -> Any:
        return self.expectation(f, lambda y, r: self.field.number(y)) if len(self.levels) > 2 else \
            self.probability(self.coefficients(f, 1)[0])


class Bernoulli(Levels):
    """p = 1/(1 + exp(−f))."""

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        return (1 + t.exp()).log() - y * t


class BernoulliProbit(Levels):
    """p = Φ(f)."""

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        u = t if y else -t
        return -((-u / flint.arb(2).sqrt()).erfc() / 2).log()


class BernoulliCloglog(Levels):
    """1 − p = exp(−exp f)."""

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        return -(1 - (-t.exp()).exp()).log() if y else t.exp()


class Ordinal(Levels):
    """P(y <= j) = σ(c_j − f)."""

    @property
    def cuts(self) -> list:
        return self.q.parameters["cut_points"]

    @property
    def levels(self) -> range:
        return range(len(self.cuts) + 1)

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        upper = 1 / (1 + (t - self.cuts[y]).exp()) if y < len(self.cuts) else 1
        lower = 1 / (1 + (t - self.cuts[y - 1]).exp()) if y else 0
        return -(upper - lower).log()


class Counts(Independent):
    """0, 1, 2, ... with a score that is linear in y: sums with a bound for the tail.

    A member gives the rate of decay p(y + 1)/p(y) and p(0).
    """

    def constant(self, y: list) -> Any:
        return sum((self.field.log_factorial(count) for count in y), self.zero)

    def rate(self, t: Any) -> Any:
        """The mean as a series (or a number) from f as one."""
        return t.exp()

    def mean_of(self, f: Any) -> Any:
        return self.rate(f)

    def decay(self, f: Any, y: int) -> Any:
        """p(y + 1)/p(y)."""
        return self.rate(f) / (y + 1)

    def none(self, f: Any) -> Any:
        """p(0)."""
        return self.field.exp(-self.rate(f))

    def moment(self, f: Any) -> Any:
        """Σ_y p(y) (r₀ + y d)², with a bound for what is left out.

        The ratio of two terms y² p(y) falls with y. Once it is κ < 1 the rest of their sum is at most the next term times
        1/(1 − κ), and |r₀ + y d| <= y (|r₀|/y + |d|).
        """
        r0 = self.coefficients(f, 0)[1]
        d = self.coefficients(f, 1)[1] - r0
        weight, result, y = self.none(f), self.zero, 0
        tiny = flint.arb(2) ** -self.field.bits
        while True:
            result += weight * (r0 + y * d) ** 2
            weight, y = weight * self.decay(f, y), y + 1
            kappa = self.decay(f, y) * (y + 1) ** 2 / y ** 2
            if kappa < 1:
                rest = weight * y * y / (1 - kappa) * (abs(r0) / y + abs(d)) ** 2
                if rest < tiny * result:
                    return result + flint.arb(0, rest.upper())


class Poisson(Counts):
    """Rate exp f."""

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        return t.exp() - y * t


class PoissonSoftplus(Counts):
    """Rate log(1 + exp f)."""

    def rate(self, t: Any) -> Any:
        return (1 + t.exp()).log()

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        rate = self.rate(t)
        return rate - y * rate.log()


class PoissonSquare(PoissonSoftplus):
    """Rate f²."""

    def rate(self, t: Any) -> Any:
        return t * t


class NegativeBinomial(Counts):
    """Mean exp f, variance μ + μ²/ρ."""

    @property
    def rho(self) -> Any:
        return self.q.parameters["dispersion"]

    def series(self, t: flint.arb_series, y: int) -> flint.arb_series:
        """−log of (ρ/(ρ + μ))^ρ (μ/(ρ + μ))^y without its constant."""
        return (self.rho + y) * (self.rho + t.exp()).log() - y * t

    def constant(self, y: list) -> Any:
        """−log [Γ(y + ρ) ρ^ρ/(Γ(ρ) y!)], by the product Γ(y + ρ)/Γ(ρ) = ρ (ρ + 1) ... (ρ + y − 1)."""
        rising = sum((self.field.log(self.rho + i) for count in y for i in range(count)), self.zero)
        return super().constant(y) - rising - self.rho * self.field.log(self.rho) * len(y)

    def decay(self, f: Any, y: int) -> Any:
        return f.exp() / (self.rho + f.exp()) * (self.rho + y) / (y + 1)

    def none(self, f: Any) -> Any:
        return self.field.exp(self.rho * self.field.log(self.rho / (self.rho + f.exp())))


class Gamma(Independent):
    """Mean exp f, shape α: density proportional to (α/m)^α y^(α − 1) exp(−α y/m)."""

    @property
    def shape(self) -> Any:
        return self.q.parameters["shape"]

    def series(self, t: flint.arb_series, y: Any) -> flint.arb_series:
        return self.shape * t + self.shape * y * (-t).exp()

    def constant(self, y: list) -> Any:
        a = self.shape
        each = self.field.log_gamma(a) - a * self.field.log(a)
        return each * len(y) - sum((self.field.log(v) for v in y), self.zero) * (a - 1)

    def moment(self, f: Any) -> Any:
        """r = α (1 − y/m), E[(y/m)^j] = Γ(α + j)/(Γ(α) α^j)."""
        a = self.shape
        first, second = ((a + j).gamma() / a.gamma() / a ** j for j in (1, 2))
        return a * a * (1 - 2 * first + second)

    def mean_of(self, f: Any) -> Any:
        return f.exp()


class StudentT(Independent):
    """f + s t with ν degrees of freedom."""

    @property
    def order(self) -> tuple:
        return self.q.parameters["scale"], self.q.parameters["degrees_of_freedom"]

    def series(self, t: flint.arb_series, y: Any) -> flint.arb_series:
        s, nu = self.order
        return (1 + (y - t) * (y - t) / (nu * s * s)).log() * (nu + 1) / 2

    def constant(self, y: list) -> Any:
        s, nu = self.order
        each = self.field.log(self.field.pi() * nu) / 2 + self.field.log(s)
        return (each + self.field.log_gamma(nu / 2) - self.field.log_gamma((nu + 1) / 2)) * len(y)

    def moment(self, f: Any) -> Any:
        """r² = (ν + 1)² w (1 − w)/(ν s²) with w = e²/(νs² + e²), which has the distribution Beta(½, ν/2)."""
        s, nu = self.order
        half = self.one / 2
        return (nu + 1) ** 2 / (nu * s * s) * _beta(half + 1, nu / 2 + 1) / _beta(half, nu / 2)

    def mean_of(self, f: Any) -> Any:
        return f


class Pairs(Family):
    """Two outputs (a, b) a target, interleaved. A member gives ℓ of one target as a jet, its moments and its mean."""

    def loss(self, f: list[Jet], y: Any) -> Jet:
        return total([self.loss_of(a, b, t) for a, b, t in zip(f[0::2], f[1::2], y)])

    def moments(self, f: list) -> Moments:
        result = diagonal([None] * len(f))
        for i in range(0, len(f), 2):
            aa, ab, bb = self.moments_of(f[i], f[i + 1])
            result[i][i], result[i + 1][i + 1] = aa, bb
            result[i][i + 1] = result[i + 1][i] = ab
        return result

    def mean(self, f: list) -> list:
        return [self.mean_of(a, b) for a, b in zip(f[0::2], f[1::2])]

    def loss_of(self, a: Jet, b: Jet, y: Any) -> Jet:
        """ℓ(y, a, b) up to terms without a and b."""
        raise NotImplementedError

    def moments_of(self, a: Any, b: Any) -> tuple:
        """(E[ℓ_a²], E[ℓ_a ℓ_b], E[ℓ_b²]); None marks an exact zero."""
        raise NotImplementedError

    def mean_of(self, a: Any, b: Any) -> Any:
        """E[y | a, b]."""
        raise NotImplementedError

    def through(self, jet: Jet, series: Any) -> Jet:
        """A function of a jet, by arithmetic on power series."""
        s = series(flint.arb_series([jet.value, 1], 4))
        return jet.composed(s[0], s[1], s[2], s[3])


class Gaussians(Pairs):
    """y ~ N(μ, v) with μ and v from the two outputs, which a member gives."""

    def mean_and_variance(self, a: Jet, b: Jet) -> tuple[Jet, Jet]:
        raise NotImplementedError

    def loss_of(self, a: Jet, b: Jet, y: Any) -> Jet:
        mu, v = self.mean_and_variance(a, b)
        e, half = mu.shifted(-y), self.one / 2
        return (e * e * self.through(v, lambda t: 1 / t)).scaled(half) + self.through(v, lambda t: t.log()).scaled(half)

    def constant(self, y: list) -> Any:
        return self.field.log(self.field.pi() * 2) * len(y) / 2

    def moments_of(self, a: Any, b: Any) -> tuple:
        """Scores are quadratic in y = μ + z √v: from three values of y, with E z² = 1, E z³ = 0, E z⁴ = 3."""
        jets = variable(a, 0, self.one), variable(b, 1, self.one)
        mu, v = (jet.value for jet in self.mean_and_variance(*jets))
        step = v.sqrt()
        scores = [self.loss_of(*jets, mu + step * k).first for k in (-1, 0, 1)]
        first, second = (self.quadratic([s[i] for s in scores]) for i in (0, 1))
        return self.product(first, first), self.product(first, second), self.product(second, second)

    def quadratic(self, at: list) -> tuple:
        """c₀ + c₁ z + c₂ z² from the values at −1, 0, 1."""
        low, middle, high = at
        return middle, (high - low) / 2, (high + low) / 2 - middle

    def product(self, c: tuple, d: tuple) -> Any:
        """E[(c₀ + c₁ z + c₂ z²)(d₀ + d₁ z + d₂ z²)]."""
        return c[0] * d[0] + c[0] * d[2] + c[1] * d[1] + c[2] * d[0] + 3 * c[2] * d[2]

    def mean_of(self, a: Any, b: Any) -> Any:
        return self.mean_and_variance(Jet(a), Jet(b))[0].value


class Heteroscedastic(Gaussians):
    """y_t ~ N(μ_t, exp s_t), outputs (μ_1, s_1, μ_2, s_2, ...)."""

    def mean_and_variance(self, a: Jet, b: Jet) -> tuple[Jet, Jet]:
        return a, self.through(b, lambda t: t.exp())

    def moments_of(self, a: Any, b: Any) -> tuple:
        """With y = μ + z exp(s/2): r_μ = −z exp(−s/2), r_s = (1 − z²)/2, and E z² = 1, E z³ = 0, E z⁴ = 3."""
        second, fourth = self.one, self.one * 3
        return second * self.field.exp(-b), None, (self.one - 2 * second + fourth) / 4


class HeteroscedasticNatural(Gaussians):
    """Outputs μ/v and −1/(2v)."""

    def mean_and_variance(self, a: Jet, b: Jet) -> tuple[Jet, Jet]:
        v = self.through(b, lambda t: -1 / (t + t))
        return a * v, v


class HeteroscedasticPrecision(Gaussians):
    """Outputs μ/v and −log v."""

    def mean_and_variance(self, a: Jet, b: Jet) -> tuple[Jet, Jet]:
        v = self.through(b, lambda t: (-t).exp())
        return a * v, v


class HeteroscedasticStudentT(Pairs):
    """Outputs μ and the logarithm of the scale; ν degrees of freedom."""

    @property
    def nu(self) -> Any:
        return self.q.parameters["degrees_of_freedom"]

    def loss_of(self, a: Jet, b: Jet, y: Any) -> Jet:
        e = a.shifted(-y)
        square = (e * e * self.through(b, lambda t: (-t - t).exp())).scaled(self.one / self.nu)
        return self.through(square, lambda t: (1 + t).log()).scaled((self.nu + 1) / 2) + b

    def constant(self, y: list) -> Any:
        nu = self.nu
        each = self.field.log(self.field.pi() * nu) / 2
        return (each + self.field.log_gamma(nu / 2) - self.field.log_gamma((nu + 1) / 2)) * len(y)

    def moments_of(self, a: Any, b: Any) -> tuple:
        """With w = e²/(νs² + e²) ~ Beta(½, ν/2): r_μ² = (ν + 1)² w (1 − w)/(ν s²), r_s = 1 − (ν + 1) w; r_μ r_s is odd in e."""
        nu, half = self.nu, self.one / 2

        def expectation(i: int, j: int) -> Any:
            return _beta(half + i, nu / 2 + j) / _beta(half, nu / 2)
        first = (nu + 1) ** 2 / nu * self.field.exp(-b - b) * expectation(1, 1)
        return first, None, 1 - 2 * (nu + 1) * expectation(1, 0) + (nu + 1) ** 2 * expectation(2, 0)

    def mean_of(self, a: Any, b: Any) -> Any:
        return a


class HeteroscedasticGamma(Pairs):
    """Outputs log mean and log shape: density (α/m)^α y^(α − 1) exp(−α y/m)/Γ(α)."""

    def loss_of(self, a: Jet, b: Jet, y: Any) -> Jet:
        alpha = self.through(b, lambda t: t.exp())
        log_y = self.field.log(y)
        rate = b + a.scaled(-self.one)      # log(α/m)
        scaled = self.through(rate, lambda t: t.exp()).scaled(y)
        return (alpha * rate).scaled(-self.one) + alpha.scaled(-log_y) + scaled + self.through(alpha, lambda t: t.lgamma())

    def constant(self, y: list) -> Any:
        return sum((self.field.log(v) for v in y), self.zero)

    def moments_of(self, a: Any, b: Any) -> tuple:
        """With g = αy/m ~ Γ(α, 1): r_a = α − g, r_b = g − α log g + α ψ(α) − α, uncorrelated.

        E[g^i log^j g] = Γ^(j)(α + i)/Γ(α); E[r_a r_b] = α (α − αψ + c) − (α² + α − α (αψ + 1) + cα) = 0 with c = αψ − α.
        """
        alpha = b.exp()
        rising = [flint.arb_series([alpha + i, 1], 3).gamma() for i in range(3)]
        E = [[s[0] / rising[0][0], s[1] / rising[0][0], 2 * s[2] / rising[0][0]] for s in rising]
        c = alpha * E[0][1] - alpha
        second = E[2][0] + alpha * alpha * E[0][2] + c * c - 2 * alpha * E[1][1] + 2 * c * E[1][0] - 2 * alpha * c * E[0][1]
        return E[2][0] - 2 * alpha * E[1][0] + alpha * alpha, None, second

    def mean_of(self, a: Any, b: Any) -> Any:
        return a.exp()


class HeteroscedasticNegativeBinomial(Pairs):
    """Outputs log mean and log dispersion: Γ(y + ρ)/(Γ(ρ) y!) (ρ/(ρ + μ))^ρ (μ/(ρ + μ))^y."""

    def loss_of(self, a: Jet, b: Jet, y: int) -> Jet:
        mu, rho = (self.through(f, lambda t: t.exp()) for f in (a, b))
        log_both = self.through(rho + mu, lambda t: t.log())
        rising = [self.through(rho.shifted(self.one * i), lambda t: t.log()).scaled(-self.one) for i in range(y)]
        mixed = [rho * log_both, (rho * b).scaled(-self.one), log_both.scaled(self.one * y), a.scaled(-self.one * y)]
        return total(mixed + rising)

    def constant(self, y: list) -> Any:
        return sum((self.field.log_factorial(count) for count in y), self.zero)

    def moments_of(self, a: Any, b: Any) -> tuple:
        """Σ_y p(y) r², with a bound for what is left out; mean and dispersion are orthogonal, E[r_a r_b] = 0.

        r_a = ρ (μ − y)/(ρ + μ), r_b = ρ (log((ρ + μ)/ρ) + (y − μ)/(ρ + μ) − Σ_{i<y} 1/(ρ + i)), where the last sum is at most
        y/ρ: |r| <= c + d y for both, and the ratio of two terms y² p(y) falls with y, as in `Counts.moment`.
        """
        rho, mu = b.exp(), a.exp()
        both, weight = rho + mu, self.field.exp(rho * (b - (rho + mu).log()))
        level = (both / rho).log()
        c, d = rho * (1 + level), rho / both + 1
        sums, rise, y, tiny = [self.zero, self.zero], self.zero, 0, flint.arb(2) ** -self.field.bits
        while True:
            scores = rho * (mu - y) / both, rho * (level + (y - mu) / both - rise)
            sums = [s + weight * r * r for s, r in zip(sums, scores)]
            rise, weight, y = rise + 1 / (rho + y), weight * mu / both * (rho + y) / (y + 1), y + 1
            kappa = mu / both * (rho + y) / (y + 1) * (y + 1) ** 2 / y ** 2
            if kappa < 1:
                rest = weight * y * y / (1 - kappa) * (c / y + d) ** 2
                if rest < tiny * sums[0] and rest < tiny * sums[1]:
                    first, second = (s + flint.arb(0, rest.upper()) for s in sums)
                    return first, None, second

    def mean_of(self, a: Any, b: Any) -> Any:
        return a.exp()


def _beta(a: Any, b: Any) -> Any:
    return a.gamma() * b.gamma() / (a + b).gamma()


def diagonal(values: list) -> Moments:
    """A diagonal matrix whose other entries are exact zeros."""
    return [[value if i == j else None for j in range(len(values))] for i, value in enumerate(values)]


FAMILIES = {
    "normal": Normal, "normal_full": NormalFull, "heteroscedastic": Heteroscedastic, "student_t": StudentT,
    "heteroscedastic_natural": HeteroscedasticNatural, "heteroscedastic_precision": HeteroscedasticPrecision,
    "heteroscedastic_student_t": HeteroscedasticStudentT, "heteroscedastic_gamma": HeteroscedasticGamma,
    "heteroscedastic_negative_binomial": HeteroscedasticNegativeBinomial,
    "bernoulli": Bernoulli, "bernoulli_probit": BernoulliProbit, "bernoulli_cloglog": BernoulliCloglog,
    "categorical": Categorical, "ordinal": Ordinal, "poisson": Poisson, "poisson_softplus": PoissonSoftplus,
    "poisson_square": PoissonSquare, "negative_binomial": NegativeBinomial, "gamma": Gamma,
}
