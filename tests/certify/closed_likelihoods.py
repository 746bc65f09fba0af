"""Route B, likelihoods: ℓ, its first two derivatives and the Fisher matrix of the output, in closed form."""

from __future__ import annotations

from typing import Any

from .fields import Number
from .question import Question


class Form:
    """One likelihood in one field. Members give `loss`, `residual`, `curvature` and `mean`; `fisher` where it is not Λ."""

    def __init__(self, q: Question, field: Any) -> None:
        self.q, self.field = q, field
        self.zero, self.one = field.number(0), field.number(1)

    def loss(self, f: list, y: Any) -> Number:
        """−log p(y | f)."""
        raise NotImplementedError

    def residual(self, f: list, y: Any) -> list:
        """∂ℓ/∂f."""
        raise NotImplementedError

    def curvature(self, f: list, y: Any) -> list[list]:
        """Λ = ∂²ℓ/∂f²."""
        raise NotImplementedError

    def fisher(self, f: list) -> list[list]:
        """E[r rᵀ]: in natural parameters it is Λ, for any y."""
        return self.curvature(f, None)

    def mean(self, f: list) -> list:
        """E[y | f]."""
        raise NotImplementedError

    def diagonal(self, values: list) -> list[list]:
        return [[value if i == j else self.zero for j in range(len(values))] for i, value in enumerate(values)]

    def sigmoid(self, z: Number) -> Number:
        return 1 / (1 + self.field.exp(-z))


class Normal(Form):
    """1/σ²."""

    def loss(self, f: list, y: list) -> Number:
        return sum(((t - a) * (t - a) / self.q.variance + self.field.log(2 * self.field.pi() * self.q.variance)
                    for a, t in zip(f, y)), self.zero) / 2

    def residual(self, f: list, y: list) -> list:
        scale = self.one / self.q.variance
        return [(m - t) * scale for m, t in zip(f, y)]

    def curvature(self, f: list, y: Any) -> list[list]:
        return self.diagonal([self.one / self.q.variance] * len(f))

    def mean(self, f: list) -> list:
        return f


class NormalFull(Form):
    """V = L D Lᵀ; L y solved forwards and backwards."""

    def __init__(self, q: Question, field: Any) -> None:
        super().__init__(q, field)
        V = q.parameters["noise"]
        self.size = len(V)
        self.L = [[self.zero] * self.size for _ in V]
        self.D: list = []
        for i in range(self.size):
            for j in range(i):
                carried = sum((self.L[i][k] * self.D[k] * self.L[j][k] for k in range(j)), self.zero)
                self.L[i][j] = (V[i][j] - carried) / self.D[j]
            self.L[i][i] = self.one
            self.D.append(V[i][i] - sum((self.L[i][k] * self.L[i][k] * self.D[k] for k in range(i)), self.zero))

    def whitened(self, e: list) -> list:
        """L⁻¹ e."""
        u: list = []
        for i in range(self.size):
            u.append(e[i] - sum((self.L[i][k] * u[k] for k in range(i)), self.zero))
        return u

    def solved(self, e: list) -> list:
        """V⁻¹ e."""
        x = [u / d for u, d in zip(self.whitened(e), self.D)]
        for i in range(self.size - 1, -1, -1):
            x[i] = x[i] - sum((self.L[k][i] * x[k] for k in range(i + 1, self.size)), self.zero)
        return x

    def loss(self, f: list, y: list) -> Number:
        u = self.whitened([t - a for a, t in zip(f, y)])
        two_pi = 2 * self.field.pi()
        return sum((v * v / d + self.field.log(two_pi * d) for v, d in zip(u, self.D)), self.zero) / 2

    def residual(self, f: list, y: list) -> list:
        return self.solved([a - t for a, t in zip(f, y)])

    def curvature(self, f: list, y: Any) -> list[list]:
        unit = range(self.size)
        return [self.solved([self.one if i == j else self.zero for j in unit]) for i in unit]

    def mean(self, f: list) -> list:
        return f


class Categorical(Form):
    """p = softmax(f): p − e_y, diag(p) − p pᵀ."""

    def loss(self, f: list, y: int) -> Number:
        return -self.field.log(self.mean(f)[y])

    def residual(self, f: list, y: int) -> list:
        return [m - int(k == y) for k, m in enumerate(self.mean(f))]

    def curvature(self, f: list, y: Any) -> list[list]:
        p, k = self.mean(f), range(len(f))
        return [[(p[a] if a == b else self.zero) - p[a] * p[b] for b in k] for a in k]

    def mean(self, f: list) -> list:
        weights = [self.field.exp(a) for a in f]
        return [w / sum(weights, self.zero) for w in weights]


class Independent(Form):
    """One target an output. A member gives the scalar formulas."""

    def loss(self, f: list, y: list) -> Number:
        return sum((self.loss_of(a, t) for a, t in zip(f, y)), self.zero)

    def residual(self, f: list, y: list) -> list:
        return [self.first(a, t) for a, t in zip(f, y)]

    def curvature(self, f: list, y: list) -> list[list]:
        return self.diagonal([self.second(a, t) for a, t in zip(f, y)])

    def fisher(self, f: list) -> list[list]:
        return self.diagonal([self.information(a) for a in f])

    def mean(self, f: list) -> list:
        return [self.mean_of(a) for a in f]

    def loss_of(self, f: Number, y: Any) -> Number:
        """ℓ of one output."""
        raise NotImplementedError

    def first(self, f: Number, y: Any) -> Number:
        """∂ℓ/∂f."""
        raise NotImplementedError

    def second(self, f: Number, y: Any) -> Number:
        """∂²ℓ/∂f²."""
        raise NotImplementedError

    def information(self, f: Number) -> Number:
        """E[(∂ℓ/∂f)²]."""
        raise NotImplementedError

    def mean_of(self, f: Number) -> Number:
        """E[y | f]."""
        raise NotImplementedError


class Bernoulli(Independent):
    """p = σ(f): p − y, p (1 − p)."""

    def loss_of(self, f: Number, y: int) -> Number:
        return self.field.log(1 + self.field.exp(f if y == 0 else -f))

    def first(self, f: Number, y: int) -> Number:
        return self.mean_of(f) - y

    def second(self, f: Number, y: int) -> Number:
        return self.information(f)

    def information(self, f: Number) -> Number:
        p = self.mean_of(f)
        return p * (1 - p)

    def mean_of(self, f: Number) -> Number:
        return self.sigmoid(f)


class BernoulliProbit(Independent):
    """κ = φ(u)/Φ(u), u = ± f: ∓κ, κ (κ + u); F = φ²/(Φ(f) Φ(−f))."""

    def cumulative(self, u: Number) -> Number:
        return self.field.erfc(-u / self.field.sqrt(self.field.number(2))) / 2

    def density(self, u: Number) -> Number:
        return self.field.exp(-u * u / 2) / self.field.sqrt(2 * self.field.pi())

    def hazard(self, u: Number) -> Number:
        return self.density(u) / self.cumulative(u)

    def loss_of(self, f: Number, y: int) -> Number:
        return -self.field.log(self.cumulative(f if y else -f))

    def first(self, f: Number, y: int) -> Number:
        return -self.hazard(f) if y else self.hazard(-f)

    def second(self, f: Number, y: int) -> Number:
        u = f if y else -f
        return self.hazard(u) * (self.hazard(u) + u)

    def information(self, f: Number) -> Number:
        return self.hazard(f) * self.hazard(-f)

    def mean_of(self, f: Number) -> Number:
        return self.cumulative(f)


class BernoulliCloglog(Independent):
    """L = exp f. y = 0: all derivatives L. y = 1, q = L/(exp L − 1): −q, q (q exp L − 1). F = L q."""

    def parts(self, f: Number) -> tuple:
        L = self.field.exp(f)
        return L, L / (self.field.exp(L) - 1)

    def loss_of(self, f: Number, y: int) -> Number:
        return -self.field.log(self.mean_of(f)) if y else self.field.exp(f)

    def first(self, f: Number, y: int) -> Number:
        L, q = self.parts(f)
        return -q if y else L

    def second(self, f: Number, y: int) -> Number:
        L, q = self.parts(f)
        return q * (q * self.field.exp(L) - 1) if y else L

    def information(self, f: Number) -> Number:
        L, q = self.parts(f)
        return L * q

    def mean_of(self, f: Number) -> Number:
        return 1 - self.field.exp(-self.field.exp(f))


class Ordinal(Independent):
    """b = c_y − f, a = c_{y−1} − f: 1 − σ(b) − σ(a), σ′(b) + σ′(a); F = (1 − Σ p³)/3 (Whitehead 1993)."""

    def ends(self, f: Number, y: int) -> tuple:
        """(σ(a), σ(b)), 0 and 1 at the ends."""
        cuts = self.q.parameters["cut_points"]
        below = self.sigmoid(cuts[y - 1] - f) if y else self.zero
        return below, self.sigmoid(cuts[y] - f) if y < len(cuts) else self.one

    def probabilities(self, f: Number) -> list:
        ends = [self.ends(f, y) for y in range(len(self.q.parameters["cut_points"]) + 1)]
        return [high - low for low, high in ends]

    def loss_of(self, f: Number, y: int) -> Number:
        return -self.field.log(self.probabilities(f)[y])

    def first(self, f: Number, y: int) -> Number:
        low, high = self.ends(f, y)
        return 1 - high - low

    def second(self, f: Number, y: int) -> Number:
        return sum((s * (1 - s) for s in self.ends(f, y)), self.zero)

    def information(self, f: Number) -> Number:
        return (1 - sum((p * p * p for p in self.probabilities(f)), self.zero)) / 3

    def mean_of(self, f: Number) -> Number:
        """Σ_j σ(f − c_j)."""
        return sum((self.sigmoid(f - cut) for cut in self.q.parameters["cut_points"]), self.zero)


class Poisson(Independent):
    """λ = exp f: λ − y, λ."""

    def loss_of(self, f: Number, y: int) -> Number:
        rate = self.mean_of(f)
        return rate - y * self.field.log(rate) + self.field.log_factorial(y)

    def first(self, f: Number, y: int) -> Number:
        return self.field.exp(f) - y

    def second(self, f: Number, y: int) -> Number:
        return self.field.exp(f)

    def information(self, f: Number) -> Number:
        return self.field.exp(f)

    def mean_of(self, f: Number) -> Number:
        return self.field.exp(f)


class PoissonSoftplus(Poisson):
    """μ = log(1 + exp f), s = σ(f) = μ′: s (1 − y/μ), s (1 − s)(1 − y/μ) + y (s/μ)²; F = s²/μ."""

    def first(self, f: Number, y: int) -> Number:
        return self.sigmoid(f) * (1 - y / self.mean_of(f))

    def second(self, f: Number, y: int) -> Number:
        s, mu = self.sigmoid(f), self.mean_of(f)
        return s * (1 - s) * (1 - y / mu) + y * s * s / (mu * mu)

    def information(self, f: Number) -> Number:
        s = self.sigmoid(f)
        return s * s / self.mean_of(f)

    def mean_of(self, f: Number) -> Number:
        return self.field.log(1 + self.field.exp(f))


class PoissonSquare(Poisson):
    """μ = f²: 2f − 2y/f, 2 + 2y/f²; F = 4."""

    def first(self, f: Number, y: int) -> Number:
        return 2 * f - 2 * y / f

    def second(self, f: Number, y: int) -> Number:
        return 2 + 2 * y / (f * f)

    def information(self, f: Number) -> Number:
        return self.one * 4

    def mean_of(self, f: Number) -> Number:
        return f * f


class NegativeBinomial(Independent):
    """μ = exp f: ρ (μ − y)/(ρ + μ), ρμ (ρ + y)/(ρ + μ)²; F = ρμ/(ρ + μ)."""

    def parts(self, f: Number) -> tuple:
        return self.q.parameters["dispersion"], self.field.exp(f)

    def loss_of(self, f: Number, y: int) -> Number:
        rho, mu = self.parts(f)
        log, log_gamma = self.field.log, self.field.log_gamma
        chosen = log_gamma(rho + y) - log_gamma(rho) - self.field.log_factorial(y)
        return -chosen - rho * log(rho / (rho + mu)) - y * log(mu / (rho + mu))

    def first(self, f: Number, y: int) -> Number:
        rho, mu = self.parts(f)
        return rho * (mu - y) / (rho + mu)

    def second(self, f: Number, y: int) -> Number:
        rho, mu = self.parts(f)
        return rho * mu * (rho + y) / ((rho + mu) * (rho + mu))

    def information(self, f: Number) -> Number:
        rho, mu = self.parts(f)
        return rho * mu / (rho + mu)

    def mean_of(self, f: Number) -> Number:
        return self.field.exp(f)


class Gamma(Independent):
    """m = exp f: α (1 − y/m), α y/m; F = α."""

    def loss_of(self, f: Number, y: Number) -> Number:
        a, scaled = self.q.parameters["shape"], y * self.field.exp(-f)
        log = self.field.log
        return self.field.log_gamma(a) - a * log(a * scaled) + log(y) + a * scaled

    def first(self, f: Number, y: Number) -> Number:
        return self.q.parameters["shape"] * (1 - y / self.field.exp(f))

    def second(self, f: Number, y: Number) -> Number:
        return self.q.parameters["shape"] * y / self.field.exp(f)

    def information(self, f: Number) -> Number:
        return self.q.parameters["shape"]

    def mean_of(self, f: Number) -> Number:
        return self.field.exp(f)


class StudentT(Independent):
    """e = y − f, Q = νs² + e²: −(ν + 1) e/Q, (ν + 1)(νs² − e²)/Q²; F = (ν + 1)/((ν + 3) s²)."""

    def parts(self, f: Number, y: Number) -> tuple:
        s, nu = self.q.parameters["scale"], self.q.parameters["degrees_of_freedom"]
        e = y - f
        return nu, nu * s * s, e, nu * s * s + e * e

    def loss_of(self, f: Number, y: Number) -> Number:
        nu, spread, _, Q = self.parts(f, y)
        log, log_gamma = self.field.log, self.field.log_gamma
        constant = log_gamma(nu / 2) - log_gamma((nu + 1) / 2) + log(self.field.pi() * spread) / 2
        return constant + (nu + 1) / 2 * (log(Q) - log(spread))

    def first(self, f: Number, y: Number) -> Number:
        nu, _, e, Q = self.parts(f, y)
        return -(nu + 1) * e / Q

    def second(self, f: Number, y: Number) -> Number:
        nu, spread, e, Q = self.parts(f, y)
        return (nu + 1) * (spread - e * e) / (Q * Q)

    def information(self, f: Number) -> Number:
        s, nu = self.q.parameters["scale"], self.q.parameters["degrees_of_freedom"]
        return (nu + 1) / ((nu + 3) * s * s)

    def mean_of(self, f: Number) -> Number:
        return f


class Pairs(Form):
    """Two outputs (a, b) a target, interleaved. A member gives the formulas of one target."""

    def parted(self, f: list, y: list) -> list[tuple]:
        return list(zip(f[0::2], f[1::2], y))

    def loss(self, f: list, y: list) -> Number:
        return sum((self.loss_of(*each) for each in self.parted(f, y)), self.zero)

    def residual(self, f: list, y: list) -> list:
        return [r for each in self.parted(f, y) for r in self.first(*each)]

    def curvature(self, f: list, y: list) -> list[list]:
        return self.blocks([self.second(*each) for each in self.parted(f, y)])

    def fisher(self, f: list) -> list[list]:
        return self.blocks([self.information(a, b) for a, b in zip(f[0::2], f[1::2])])

    def mean(self, f: list) -> list:
        return [self.mean_of(a, b) for a, b in zip(f[0::2], f[1::2])]

    def blocks(self, entries: list[tuple]) -> list[list]:
        M = self.diagonal([self.zero] * (2 * len(entries)))
        for i, (aa, ab, bb) in enumerate(entries):
            M[2 * i][2 * i], M[2 * i + 1][2 * i + 1] = aa, bb
            M[2 * i][2 * i + 1] = M[2 * i + 1][2 * i] = ab
        return M

    def loss_of(self, a: Number, b: Number, y: Any) -> Number:
        """ℓ of one target."""
        raise NotImplementedError

    def first(self, a: Number, b: Number, y: Any) -> tuple:
        """(ℓ_a, ℓ_b)."""
        raise NotImplementedError

    def second(self, a: Number, b: Number, y: Any) -> tuple:
        """(ℓ_aa, ℓ_ab, ℓ_bb)."""
        raise NotImplementedError

    def information(self, a: Number, b: Number) -> tuple:
        """(E[ℓ_a²], E[ℓ_a ℓ_b], E[ℓ_b²])."""
        raise NotImplementedError

    def mean_of(self, a: Number, b: Number) -> Number:
        """E[y | a, b]."""
        raise NotImplementedError

    def log_two_pi(self) -> Number:
        return self.field.log(2 * self.field.pi())


class Heteroscedastic(Pairs):
    """e = y − μ, τ = exp(−s): (−eτ, (1 − e²τ)/2), τ [[1, e], [e, e²/2]]; F = diag(τ, 1/2)."""

    def loss_of(self, a: Number, b: Number, y: Number) -> Number:
        e, tau = y - a, self.field.exp(-b)
        return (e * e * tau + b + self.log_two_pi()) / 2

    def first(self, a: Number, b: Number, y: Number) -> tuple:
        e, tau = y - a, self.field.exp(-b)
        return -e * tau, (1 - e * e * tau) / 2

    def second(self, a: Number, b: Number, y: Number) -> tuple:
        e, tau = y - a, self.field.exp(-b)
        return tau, e * tau, e * e * tau / 2

    def information(self, a: Number, b: Number) -> tuple:
        return self.field.exp(-b), self.zero, self.one / 2

    def mean_of(self, a: Number, b: Number) -> Number:
        return a


class HeteroscedasticNatural(Pairs):
    """v = −1/(2η₂), μ = η₁ v: (μ − y, μ² + v − y²), [[v, 2μv], [2μv, 4μ²v + 2v²]] for any y."""

    def loss_of(self, a: Number, b: Number, y: Number) -> Number:
        return -a * y - b * y * y - a * a / (4 * b) - self.field.log(-2 * b) / 2 + self.log_two_pi() / 2

    def first(self, a: Number, b: Number, y: Number) -> tuple:
        mu, v = -a / (2 * b), -1 / (2 * b)
        return mu - y, mu * mu + v - y * y

    def second(self, a: Number, b: Number, y: Any) -> tuple:
        return self.information(a, b)

    def information(self, a: Number, b: Number) -> tuple:
        mu, v = -a / (2 * b), -1 / (2 * b)
        return v, 2 * mu * v, 4 * mu * mu * v + 2 * v * v

    def mean_of(self, a: Number, b: Number) -> Number:
        return -a / (2 * b)


class HeteroscedasticPrecision(Pairs):
    """τ = exp b, μ = η/τ: (μ − y, (τ(y² − μ²) − 1)/2), [[1/τ, −μ], [−μ, τ(y² + μ²)/2]]; F has τμ² + ½ for its last entry."""

    def loss_of(self, a: Number, b: Number, y: Number) -> Number:
        tau = self.field.exp(b)
        return (tau * y * y - 2 * a * y + a * a / tau - b + self.log_two_pi()) / 2

    def first(self, a: Number, b: Number, y: Number) -> tuple:
        tau = self.field.exp(b)
        return a / tau - y, (tau * y * y - a * a / tau - 1) / 2

    def second(self, a: Number, b: Number, y: Number) -> tuple:
        tau = self.field.exp(b)
        return 1 / tau, -a / tau, (tau * y * y + a * a / tau) / 2

    def information(self, a: Number, b: Number) -> tuple:
        tau = self.field.exp(b)
        return 1 / tau, -a / tau, a * a / tau + self.one / 2

    def mean_of(self, a: Number, b: Number) -> Number:
        return a * self.field.exp(-b)


class HeteroscedasticStudentT(Pairs):
    """e = y − μ, s² = exp 2τ, Q = νs² + e²: (−(ν + 1) e/Q, 1 − (ν + 1) e²/Q); F = diag((ν + 1)/((ν + 3) s²), 2ν/(ν + 3))."""

    def parts(self, a: Number, b: Number, y: Number) -> tuple:
        nu, e = self.q.parameters["degrees_of_freedom"], y - a
        spread = nu * self.field.exp(2 * b)
        return nu, spread, e, spread + e * e

    def loss_of(self, a: Number, b: Number, y: Number) -> Number:
        nu, spread, e, Q = self.parts(a, b, y)
        log, log_gamma = self.field.log, self.field.log_gamma
        constant = log_gamma(nu / 2) - log_gamma((nu + 1) / 2) + log(self.field.pi() * nu) / 2
        return constant + b + (nu + 1) / 2 * (log(Q) - log(spread))

    def first(self, a: Number, b: Number, y: Number) -> tuple:
        nu, _, e, Q = self.parts(a, b, y)
        return -(nu + 1) * e / Q, 1 - (nu + 1) * e * e / Q

    def second(self, a: Number, b: Number, y: Number) -> tuple:
        nu, spread, e, Q = self.parts(a, b, y)
        common = (nu + 1) / (Q * Q)
        return common * (spread - e * e), common * 2 * spread * e, common * 2 * spread * e * e

    def information(self, a: Number, b: Number) -> tuple:
        nu = self.q.parameters["degrees_of_freedom"]
        return (nu + 1) / (nu + 3) * self.field.exp(-2 * b), self.zero, 2 * nu / (nu + 3)

    def mean_of(self, a: Number, b: Number) -> Number:
        return a


class HeteroscedasticGamma(Pairs):
    """α = exp b, w = y exp(−a): (α (1 − w), α (a − b − 1 − log y + w + ψ(α))); F = diag(α, α² ψ₁(α) − α)."""

    def loss_of(self, a: Number, b: Number, y: Number) -> Number:
        alpha, w, log = self.field.exp(b), y * self.field.exp(-a), self.field.log
        return self.field.log_gamma(alpha) - alpha * (b + log(w)) + log(y) + alpha * w

    def slope(self, a: Number, b: Number, y: Number) -> Number:
        """∂ℓ/∂α."""
        return a - b - 1 - self.field.log(y) + y * self.field.exp(-a) + self.field.digamma(self.field.exp(b))

    def first(self, a: Number, b: Number, y: Number) -> tuple:
        alpha = self.field.exp(b)
        return alpha * (1 - y * self.field.exp(-a)), alpha * self.slope(a, b, y)

    def second(self, a: Number, b: Number, y: Number) -> tuple:
        alpha, w = self.field.exp(b), y * self.field.exp(-a)
        return alpha * w, alpha * (1 - w), alpha * self.slope(a, b, y) + alpha * alpha * self.field.trigamma(alpha) - alpha

    def information(self, a: Number, b: Number) -> tuple:
        alpha = self.field.exp(b)
        return alpha, self.zero, alpha * alpha * self.field.trigamma(alpha) - alpha

    def mean_of(self, a: Number, b: Number) -> Number:
        return self.field.exp(a)


class HeteroscedasticNegativeBinomial(Pairs):
    """ρ = exp b, μ = exp a, D = ψ(y + ρ) − ψ(ρ), h = ∂ℓ/∂ρ = log((ρ + μ)/ρ) − D + (y − μ)/(ρ + μ): (ρ (μ − y)/(ρ + μ), ρh).

    Λ_ab = ρμ (μ − y)/(ρ + μ)², Λ_bb = ρh + ρ² h′, h′ = ψ₁(ρ) − ψ₁(y + ρ) + 1/(ρ + μ) − 1/ρ − (y − μ)/(ρ + μ)².
    F = diag(ρμ/(ρ + μ), ρ² Σ_j P(y > j)/(ρ + j)² − ρμ/(ρ + μ)).
    """

    def parts(self, a: Number, b: Number) -> tuple:
        return self.field.exp(b), self.field.exp(a)

    def loss_of(self, a: Number, b: Number, y: int) -> Number:
        rho, mu = self.parts(a, b)
        log, log_gamma = self.field.log, self.field.log_gamma
        chosen = log_gamma(rho + y) - log_gamma(rho) - self.field.log_factorial(y)
        return -chosen - rho * log(rho / (rho + mu)) - y * log(mu / (rho + mu))

    def slope(self, rho: Number, mu: Number, y: int) -> Number:
        """h."""
        rise = self.field.digamma(rho + y) - self.field.digamma(rho)
        return self.field.log((rho + mu) / rho) - rise + (y - mu) / (rho + mu)

    def first(self, a: Number, b: Number, y: int) -> tuple:
        rho, mu = self.parts(a, b)
        return rho * (mu - y) / (rho + mu), rho * self.slope(rho, mu, y)

    def second(self, a: Number, b: Number, y: int) -> tuple:
        rho, mu = self.parts(a, b)
        total = rho + mu
        bend = self.field.trigamma(rho) - self.field.trigamma(rho + y) + 1 / total - 1 / rho - (y - mu) / (total * total)
        return (rho * mu * (rho + y) / (total * total), rho * mu * (mu - y) / (total * total),
                rho * self.slope(rho, mu, y) + rho * rho * bend)

    def information(self, a: Number, b: Number) -> tuple:
        rho, mu = self.parts(a, b)
        own = rho * mu / (rho + mu)
        return own, self.zero, rho * rho * self.tails(rho, mu) - own

    def tails(self, rho: Number, mu: Number) -> Number:
        """Σ_j P(y > j)/(ρ + j)²."""
        odds, weights = mu / (rho + mu), [self.field.exp(rho * self.field.log(rho / (rho + mu)))]
        while weights[-1] > self.field.tiny():
            j = len(weights) - 1
            weights.append(weights[-1] * odds * (rho + j) / (j + 1))
        above, result = self.zero, self.zero
        for j in range(len(weights) - 2, -1, -1):
            above = above + weights[j + 1]
            result = result + above / ((rho + j) * (rho + j))
        return result

    def mean_of(self, a: Number, b: Number) -> Number:
        return self.field.exp(a)


FORMS = {
    "normal": Normal, "normal_full": NormalFull, "heteroscedastic": Heteroscedastic, "student_t": StudentT,
    "heteroscedastic_natural": HeteroscedasticNatural, "heteroscedastic_precision": HeteroscedasticPrecision,
    "heteroscedastic_student_t": HeteroscedasticStudentT, "heteroscedastic_gamma": HeteroscedasticGamma,
    "heteroscedastic_negative_binomial": HeteroscedasticNegativeBinomial,
    "bernoulli": Bernoulli, "bernoulli_probit": BernoulliProbit, "bernoulli_cloglog": BernoulliCloglog,
    "categorical": Categorical, "ordinal": Ordinal, "poisson": Poisson, "poisson_softplus": PoissonSoftplus,
    "poisson_square": PoissonSquare, "negative_binomial": NegativeBinomial, "gamma": Gamma,
}
CANONICAL = ("normal", "normal_full", "bernoulli", "categorical", "poisson", "heteroscedastic_natural")
