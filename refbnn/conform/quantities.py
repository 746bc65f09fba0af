"""What the kit asks for: every quantity by its dotted name, with its axes, its kind and its formula.

The kind says how an answer is judged. "array" and "scalar" are compared entry by entry and in norm; "symmetric" also reports
asymmetry; "positive_definite" is judged in its natural metric as well; "root" and "samples" have many right answers, so only
what is unique in them (the covariance that they imply) is compared. "draws" are judged statistically (conform/draws).
"""
from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Iterable

KINDS = ("array", "symmetric", "positive_definite", "scalar", "root", "samples", "draws")


INTEGRALS = 1e-9  # what a numerical integral over a posterior should reach
OPTIMA = 1e-8  # what an optimum of such integrals should


@dataclass(frozen=True)
class Quantity:
    """One thing that an adapter may compute; `certified_by` names the stored value that judges it.

    likelihoods: those for which there is such a thing, where not all. floor: the relative error that is right enough in any case.
    """

    name: str
    kind: str
    axes: str
    formula: str
    certified_by: str = ""
    likelihoods: tuple[str, ...] = ()
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        object.__setattr__(self, "certified_by", self.certified_by or self.name)

    def exists_for(self, likelihood: str) -> bool:
        """Whether there is such a thing for that likelihood."""
        return not self.likelihoods or likelihood in self.likelihoods

    @property
    def function_name(self) -> str:
        """The adapter's function: the name with dots as underscores."""
        return self.name.replace(".", "_")

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        """The shape of an answer, from the size of each axis letter (see `axis_sizes`)."""
        return tuple(sizes[axis] for axis in self.axes.split())


def axis_sizes(problem) -> dict[str, int]:
    """Length of every axis letter.

    n data, k outputs, p parameters, q parameters of the last layer, r chosen parameters, m new inputs, y entries of E[y|f] (as k,
    but half of it where a target has two outputs), s rows of normals, t draws.
    """
    return {"n": len(problem.X), "k": problem.sizes[-1], "p": len(problem.theta), "q": problem.layer_sizes[-1],
            "r": len(problem.subset),
            "m": len(problem.X_new), "y": problem.num_means, "s": len(problem.normals), "t": len(problem.draws)}


_TABLE = (
    Quantity("forward", "array", "n k", "f(X, θ)"),
    Quantity("loss", "scalar", "", "Σ_n ℓ(y_n, f_n), ℓ = −log p(y | f), every constant kept"),
    Quantity("log_joint", "scalar", "", "log p(y, θ) = −loss + log p(θ), every constant kept"),
    Quantity("gradient", "array", "p", "∇_θ of the loss, prior not included"),
    Quantity("jacobian", "array", "n k p", "∂f_nk / ∂θ_p"),
    Quantity("jacobian.vp", "array", "n k", "J v, v = problem.vector: the derivative of f(X, θ) along v"),
    Quantity("ggn.full", "symmetric", "p p", "G = Σ_n J_nᵀ Λ_n J_n, Λ = ∂²ℓ/∂f² at the observed y, indefinite or not"),
    Quantity("ggn.diag", "array", "p", "diag G"),
    Quantity("ggn.vp", "array", "p", "G v, v = problem.vector"),
    Quantity("ggn.blockdiag", "symmetric", "p p", "G, zero outside the diagonal blocks of the layers (W and b together)"),
    Quantity("ggn.neuronblocks", "symmetric", "p p", "G, zero unless both parameters belong to one unit: its weights and bias"),
    Quantity("ggn.subset", "symmetric", "r r", "rows and columns of G of the chosen parameters: those with problem.vector > 0"),
    Quantity("ggn.lastlayer", "symmetric", "q q", "the block of G of the output layer, W and b"),
    Quantity("ggn.kfac", "symmetric", "p p",
             "per layer B ⊗ A in θ's order, B = Σ_n Δ_nᵀ Λ_n Δ_n, Δ = ∂f/∂z, A = (1/N) Σ_n ā āᵀ, ā = (a, 1)"),
    Quantity("ggn.kfra", "symmetric", "p p",
             "per layer N B̄_l ⊗ A, A as in ggn.kfac; B̄_L = (1/N) Σ Λ_n, B̄_l = (Wᵀ B̄_{l+1} W) ⊙ (1/N) Σ_n φ′φ′ᵀ"),
    Quantity("ggn.ekfac", "symmetric", "p p",
             "per layer Σ_ij (u_ijᵀ G_l u_ij) u_ij u_ijᵀ, u_ij the eigenvectors of ggn.kfac (George et al. 2018)"),
    Quantity("ggn.ekfac.split", "symmetric", "p p", "as ggn.ekfac, in the eigenvectors of ggn.kfac under kfac.bias = split"),
    Quantity("ggn.vanloan", "symmetric", "p p",
             "per layer the B ⊗ A nearest to its block of G in Frobenius norm, joint bias (Van Loan & Pitsianis 1993)"),
    Quantity("hessian.full", "symmetric", "p p", "H = ∇²_θ of the loss, prior not included"),
    Quantity("hessian.diag", "array", "p", "diag H"),
    Quantity("hessian.blockdiag", "symmetric", "p p", "H, zero outside the diagonal blocks of the layers"),
    Quantity("hessian.lastlayer", "symmetric", "q q", "the block of H of the output layer, W and b"),
    Quantity("hessian.hvp", "array", "p", "H v, v = problem.vector"),
    Quantity("third.vv", "array", "p", "∇³_θ of the loss contracted with v twice: ∂(vᵀ H v)/∂θ = tr(A ∇H) for A = v vᵀ"),
    Quantity("fisher.full", "symmetric", "p p", "F = Σ_n J_nᵀ E[r rᵀ] J_n, expectation over y ~ p(y | f_n), exact"),
    Quantity("fisher.diag", "array", "p", "diag F"),
    Quantity("fisher.vp", "array", "p", "F v, v = problem.vector"),
    Quantity("fisher.kfac", "symmetric", "p p", "as ggn.kfac with E[r rᵀ] for Λ"),
    Quantity("fisher.empirical", "symmetric", "p p", "Σ_n g_n g_nᵀ, g_n = J_nᵀ r_n at the given y, not centred"),
    Quantity("fisher.empirical.diag", "array", "p", "diagonal of Σ_n g_n g_nᵀ"),
    Quantity("fisher.empirical.vp", "array", "p", "(Σ_n g_n g_nᵀ) v, v = problem.vector"),
    Quantity("fisher.empirical.centred", "symmetric", "p p", "Σ_n (g_n − ḡ)(g_n − ḡ)ᵀ, ḡ the mean of the g_n"),
    Quantity("fisher.empirical.centred.diag", "array", "p", "diagonal of fisher.empirical.centred"),
    Quantity("fisher.empirical.centred.vp", "array", "p", "fisher.empirical.centred times v, v = problem.vector"),
    Quantity("fisher.empirical.gram", "symmetric", "n n", "g_n · g_m: the Gram dual, with the nonzero eigenvalues of Σ g gᵀ"),
    Quantity("fisher.empirical.kfac", "symmetric", "p p", "as ggn.kfac with B = Σ_n δ_n δ_nᵀ, δ = ∂ℓ/∂z at the given y"),
    Quantity("fisher.mc", "symmetric", "p p", "Σ_n g_n g_nᵀ with problem.labels, one given draw per datum, for y"),
    Quantity("fisher.mc.diag", "array", "p", "diagonal of Σ_n g_n g_nᵀ with problem.labels for y"),
    Quantity("fisher.mc.vp", "array", "p", "(Σ_n g_n g_nᵀ) v with problem.labels for y, v = problem.vector"),
    Quantity("fisher.mc.kfac", "symmetric", "p p", "as fisher.empirical.kfac with problem.labels for y"),
    Quantity("ntk", "array", "n k n k", "J(x_n) J(x_m)ᵀ, summed over all parameters"),
    Quantity("laplace.precision", "positive_definite", "p p", "P = G + P₀"),
    Quantity("laplace.covariance", "positive_definite", "p p", "P⁻¹"),
    Quantity("laplace.covariance.diag", "array", "p", "diag P⁻¹: marginal variances"),
    Quantity("laplace.covariance.vp", "array", "p", "P⁻¹ v, v = problem.vector"),
    Quantity("laplace.scale", "root", "p p", "any C with C Cᵀ = P⁻¹", "laplace.covariance"),
    Quantity("laplace.log_det", "scalar", "", "log |P|"),
    Quantity("laplace.log_evidence", "scalar", "", "log_joint + (p/2) log 2π − ½ log |P|, at the given θ"),
    Quantity("laplace.sample", "samples", "s p", "θ + M z_s, z = problem.normals, M Mᵀ = P⁻¹", "laplace.covariance"),
    Quantity("laplace.evidence.prior", "scalar", "",
             "∂/∂ log τ of laplace.log_evidence with τP₀ for P₀, at τ = 1 and fixed θ: ½ (p − (θ − m)ᵀP₀(θ − m) − tr P⁻¹P₀)"),
    Quantity("laplace.evidence.noise", "scalar", "",
             "∂/∂ log σ² of laplace.log_evidence at fixed θ, Normal likelihood: ½ (‖y − f‖²/σ² − N C + tr P⁻¹G)",
             likelihoods=("normal",)),
    Quantity("laplace.diag.variance", "array", "p", "1/(G + P₀)_ii"),
    Quantity("laplace.diag.log_det", "scalar", "", "Σ_i log (G + P₀)_ii"),
    Quantity("laplace.diag.log_evidence", "scalar", "", "log_joint + (p/2) log 2π − ½ laplace.diag.log_det"),
    Quantity("laplace.diag.sample", "samples", "s p", "θ + M z_s, M Mᵀ = diag(laplace.diag.variance)", "laplace.diag.variance"),
    Quantity("laplace.diag.evidence.prior", "scalar", "",
             "as laplace.evidence.prior for laplace.diag.log_evidence: ½ (p − (θ − m)ᵀP₀(θ − m) − Σ_i (P₀)_ii/(G + P₀)_ii)"),
    Quantity("laplace.diag.evidence.noise", "scalar", "", "as laplace.evidence.noise for laplace.diag.log_evidence",
             likelihoods=("normal",)),
    Quantity("laplace.lastlayer.covariance", "positive_definite", "q q", "inverse of the block of G + P₀ of the output layer"),
    Quantity("laplace.lastlayer.log_det", "scalar", "", "log |(G + P₀)_LL|, the block of the output layer"),
    Quantity("laplace.lastlayer.log_evidence", "scalar", "",
             "−loss + log N(θ_L; m_L, (P₀)_LL⁻¹) + (q/2) log 2π − ½ laplace.lastlayer.log_det: the other layers are fixed"),
    Quantity("laplace.subset.covariance", "positive_definite", "r r", "inverse of the chosen rows and columns of G + P₀"),
    Quantity("laplace.subset.log_det", "scalar", "", "log |(G + P₀)_SS|, S as in ggn.subset"),
    Quantity("laplace.subset.log_evidence", "scalar", "", "as laplace.lastlayer.log_evidence for the chosen parameters"),
    Quantity("laplace.kron.covariance", "positive_definite", "p p", "(ggn.kfac + the layers' diagonal blocks of P₀)⁻¹, exactly"),
    Quantity("laplace.kron.log_det", "scalar", "", "log |ggn.kfac + the layers' diagonal blocks of P₀|"),
    Quantity("laplace.kron.log_evidence", "scalar", "", "log_joint + (p/2) log 2π − ½ laplace.kron.log_det"),
    Quantity("laplace.kron.scale", "root", "p p", "any C with C Cᵀ = laplace.kron.covariance", "laplace.kron.covariance"),
    Quantity("laplace.kron.sample", "samples", "s p", "θ + M z_s, M Mᵀ = laplace.kron.covariance", "laplace.kron.covariance"),
    Quantity("laplace.kron.evidence.prior", "scalar", "", "as laplace.evidence.prior for laplace.kron.log_evidence"),
    Quantity("laplace.kron.evidence.noise", "scalar", "", "as laplace.evidence.noise for laplace.kron.log_evidence",
             likelihoods=("normal",)),
    Quantity("laplace.kron.split.covariance", "positive_definite", "p p",
             "as laplace.kron.covariance under kfac.bias = split: weights and biases are blocks of their own, P₀ in these"),
    Quantity("laplace.kron.split.sample", "samples", "s p", "θ + M z_s, M Mᵀ = laplace.kron.split.covariance",
             "laplace.kron.split.covariance"),
    Quantity("laplace.kron.split.log_det", "scalar", "", "as laplace.kron.log_det, weights and biases apart"),
    Quantity("laplace.kron.split.log_evidence", "scalar", "", "as laplace.kron.log_evidence, weights and biases apart"),
    Quantity("laplace.kron.split.evidence.prior", "scalar", "", "as laplace.kron.evidence.prior, weights and biases apart"),
    Quantity("laplace.kron.split.evidence.noise", "scalar", "", "as laplace.kron.evidence.noise, weights and biases apart",
             likelihoods=("normal",)),
    Quantity("laplace.lowrank.precision", "positive_definite", "p p",
             "Σ_i≤r λ_i v_i v_iᵀ + P₀: of G the r = problem.rank leading eigenpairs alone"),
    Quantity("laplace.lowrank.covariance", "positive_definite", "p p", "the inverse of laplace.lowrank.precision"),
    Quantity("laplace.lowrank.sample", "samples", "s p", "θ + M z_s, M Mᵀ = laplace.lowrank.covariance",
             "laplace.lowrank.covariance"),
    Quantity("laplace.lowrank.log_det", "scalar", "", "log |laplace.lowrank.precision|"),
    Quantity("laplace.lowrank.log_evidence", "scalar", "", "log_joint + (p/2) log 2π − ½ laplace.lowrank.log_det"),
    Quantity("laplace.hessian.precision", "positive_definite", "p p", "H + P₀"),
    Quantity("laplace.hessian.covariance", "positive_definite", "p p", "(H + P₀)⁻¹"),
    Quantity("laplace.hessian.log_det", "scalar", "", "log |H + P₀|"),
    Quantity("laplace.hessian.log_evidence", "scalar", "", "log_joint + (p/2) log 2π − ½ log |H + P₀|"),
    Quantity("laplace.hessian.lowrank.precision", "positive_definite", "p p",
             "Σ λ_i v_i v_iᵀ + P₀ over those of the r = problem.rank eigenpairs of H of largest size |λ_i| that have λ_i > 0"),
    Quantity("laplace.hessian.lowrank.log_det", "scalar", "", "log |laplace.hessian.lowrank.precision|"),
    Quantity("laplace.hessian.lowrank.log_evidence", "scalar", "",
             "log_joint + (p/2) log 2π − ½ laplace.hessian.lowrank.log_det"),
    Quantity("predictive.glm.mean", "array", "m k", "f(X_new, θ)"),
    Quantity("predictive.joint", "array", "m k m k", "J(x) P⁻¹ J(x′)ᵀ over all new inputs together"),
    Quantity("predictive.glm.variance", "array", "m k k", "J(x) P⁻¹ J(x)ᵀ per new input, noise not included"),
    Quantity("predictive.diag.variance", "array", "m k k", "J(x) Σ J(x)ᵀ, Σ = diag(laplace.diag.variance)"),
    Quantity("predictive.lastlayer.variance", "array", "m k k",
             "J_L Σ J_Lᵀ, Σ = laplace.lastlayer.covariance, J_L by the output layer's parameters"),
    Quantity("predictive.subset.variance", "array", "m k k", "J_S Σ J_Sᵀ, Σ = laplace.subset.covariance"),
    Quantity("predictive.kron.variance", "array", "m k k", "J(x) Σ J(x)ᵀ, Σ = laplace.kron.covariance"),
    Quantity("predictive.kron.split.variance", "array", "m k k", "J(x) Σ J(x)ᵀ, Σ = laplace.kron.split.covariance"),
    Quantity("predictive.lowrank.variance", "array", "m k k", "J(x) Σ J(x)ᵀ, Σ = laplace.lowrank.covariance"),
    Quantity("predictive.hessian.lowrank.variance", "array", "m k k", "J(x) Σ J(x)ᵀ, Σ = (laplace.hessian.lowrank.precision)⁻¹"),
    Quantity("predictive.probit", "array", "m k",
             "Bernoulli with logit link: σ(f/√(1 + π v/8)), f and v those of predictive.glm, per output (MacKay 1992)",
             likelihoods=("bernoulli",)),
    Quantity("predictive.probit.multiclass", "array", "m k",
             "Categorical: softmax of f_c/√(1 + π V_cc/8), f and V those of predictive.glm (Gibbs 1997)",
             likelihoods=("categorical",)),
    Quantity("predictive.meanfield", "array", "m k",
             "Categorical: p_c ∝ 1/Σ_i exp((f_i − f_c)/√(1 + π Var(f_i − f_c)/8)) (Lu, Ie & Sha 2020, mf2)",
             likelihoods=("categorical",)),
    Quantity("predictive.concentration", "array", "m k",
             "Categorical, Laplace bridge given Σ f = 0: α_c = (1 − 2/k + e^{f_c} Σ_b e^{−f_b}/k²)/V_cc (Hobbhahn et al. 2022)",
             likelihoods=("categorical",)),
    Quantity("predictive.bridge", "array", "m k", "α_c/Σ α, α = predictive.concentration", likelihoods=("categorical",)),
    Quantity("predictive.exact", "array", "m y", "E[y] with f ~ N(f(x, θ), V), those of predictive.glm: the integral itself",
             likelihoods=("bernoulli", "bernoulli_probit", "categorical", "poisson", "poisson_square", "negative_binomial",
                          "gamma")),
    Quantity("vi.elbo", "scalar", "",
             "(1/s) Σ_s log p(y | θ + c ∘ z_s) − vi.kl, z = problem.normals, c = |problem.vector|: q = N(θ, diag c²)"),
    Quantity("vi.elbo.gradient.mean", "array", "p", "∂ vi.elbo/∂θ at fixed c and z"),
    Quantity("vi.elbo.gradient.scale", "array", "p", "∂ vi.elbo/∂c at fixed θ and z"),
    Quantity("vi.kl", "scalar", "", "KL(q ‖ N(m, P₀⁻¹)), q as in vi.elbo"),
    Quantity("vi.kl.reverse", "scalar", "", "KL(N(m, P₀⁻¹) ‖ q)"),
    Quantity("vi.kl.laplace", "scalar", "", "KL(N(θ, (G + P₀)⁻¹) ‖ N(m, P₀⁻¹))"),
    Quantity("vi.kl.laplace.reverse", "scalar", "", "KL(N(m, P₀⁻¹) ‖ N(θ, (G + P₀)⁻¹))"),
    Quantity("vi.full.elbo", "scalar", "",
             "(1/s) Σ_s log p(y | θ + C z_s) − vi.full.kl, z = problem.normals, C = problem.scale, lower triangular"),
    Quantity("vi.full.elbo.gradient.mean", "array", "p", "∂ vi.full.elbo/∂θ at fixed C and z"),
    Quantity("vi.full.elbo.gradient.scale", "array", "p p",
             "∂ vi.full.elbo/∂C at fixed θ and z, C lower triangular: zero above the diagonal"),
    Quantity("vi.full.kl", "scalar", "", "KL(N(θ, C Cᵀ) ‖ N(m, P₀⁻¹))"),
    Quantity("vi.full.kl.reverse", "scalar", "", "KL(N(m, P₀⁻¹) ‖ N(θ, C Cᵀ))"),
    Quantity("vi.optimum.mean", "array", "p",
             "mean of the Gaussian q that maximises E_q log p(y | θ) − KL(q ‖ N(m, P₀⁻¹)), the expectation exact", floor=OPTIMA),
    Quantity("vi.optimum.covariance", "positive_definite", "p p", "its covariance, all correlations free", floor=OPTIMA),
    Quantity("vi.optimum.elbo", "scalar", "", "the bound there, every constant kept", floor=OPTIMA),
    Quantity("vi.optimum.meanfield.mean", "array", "p", "as vi.optimum.mean among q with independent parameters", floor=OPTIMA),
    Quantity("vi.optimum.meanfield.variance", "array", "p", "its variances", floor=OPTIMA),
    Quantity("vi.optimum.meanfield.elbo", "scalar", "", "the bound there, every constant kept", floor=OPTIMA),
    Quantity("posterior.log_evidence", "scalar", "", "log ∫ p(y | θ) p(θ) dθ, the integral itself", floor=INTEGRALS),
    Quantity("posterior.evidence.prior", "scalar", "",
             "∂/∂ log τ of posterior.log_evidence with τP₀ for P₀, at τ = 1: ½ (p − E[(θ − m)ᵀP₀(θ − m) | y])", floor=INTEGRALS),
    Quantity("posterior.evidence.noise", "scalar", "",
             "∂/∂ log σ² of posterior.log_evidence: ½ (E[‖y − f‖² | y]/σ² − N C)", likelihoods=("normal",), floor=INTEGRALS),
    Quantity("posterior.mean", "array", "p", "E[θ | y]", floor=INTEGRALS),
    Quantity("posterior.covariance", "positive_definite", "p p", "Cov[θ | y]", floor=INTEGRALS),
    Quantity("posterior.predictive.mean", "array", "m y", "E[E[y | f(X_new, θ)] | y]", floor=INTEGRALS),
    Quantity("posterior.predictive.variance", "array", "m k", "Var[f(X_new, θ) | y], noise not included", floor=INTEGRALS),
    Quantity("posterior.f.mean", "array", "m k", "E[f(X_new, θ) | y]", floor=INTEGRALS),
    Quantity("posterior.log_likelihood.mean", "scalar", "", "E[log p(y | θ) | y]", floor=INTEGRALS),
    Quantity("posterior.log_likelihood.variance", "scalar", "", "Var[log p(y | θ) | y]", floor=INTEGRALS),
    Quantity("posterior.log_joint.mean", "scalar", "", "E[log p(y, θ) | y]", floor=INTEGRALS),
    Quantity("posterior.log_joint.variance", "scalar", "", "Var[log p(y, θ) | y]", floor=INTEGRALS),
    Quantity("posterior.draws", "draws", "c d p",
             "draws of θ from p(θ | y) ∝ p(y | θ) N(θ; m, P₀⁻¹), without warm-up, in chains with random numbers of their own",
             "posterior.f.mean"),
    Quantity("gp.kernel", "array", "n k n k", "J P₀⁻¹ Jᵀ over all data: the prior covariance of the linearised network"),
    Quantity("gp.mean", "array", "m k", "posterior mean at X_new of the linearised network f + J (θ′ − θ) as a Gaussian process",
             likelihoods=("normal",)),
    Quantity("gp.variance", "array", "m k k", "its posterior covariance at each new input: predictive.glm.variance by functions",
             "predictive.glm.variance", likelihoods=("normal",)),
    Quantity("gp.log_evidence", "scalar", "", "log N(y; f + J (m − θ), J P₀⁻¹ Jᵀ + σ²): the linearised network's own evidence",
             likelihoods=("normal",)),
    Quantity("gp.evidence.prior", "scalar", "",
             "∂/∂ log τ of gp.log_evidence with τP₀ for P₀, at τ = 1 and fixed θ: total, the linear model's mode moves along",
             likelihoods=("normal",)),
    Quantity("gp.evidence.noise", "scalar", "", "∂/∂ log σ² of gp.log_evidence at fixed θ", likelihoods=("normal",)),
    Quantity("gp.loo.log_density", "array", "n",
             "log p(y_n | all other data) of the linearised network as a Gaussian process, all outputs of datum n left out",
             likelihoods=("normal",)),
    Quantity("predictive.mc", "array", "m y", "(1/t) Σ_t E[y | f(X_new, θ_t)], θ_t = problem.draws"),
)
QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _TABLE}


def select(globs: Iterable[str]) -> list[Quantity]:
    """The quantities whose names match any glob, in table order; ValueError names a glob that matches none."""
    globs = list(globs)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in QUANTITIES):
            raise ValueError(f"no quantity matches {glob!r}; nearest: {', '.join(nearest(glob)) or 'none'}")
    return [quantity for quantity in _TABLE if any(fnmatchcase(quantity.name, glob) for glob in globs)]


def nearest(name: str) -> list[str]:
    """Quantity names that end so, then those that look like `name`, best first (dots and underscores count as equal)."""
    wanted, spelled = name.replace(".", "_"), {quantity.function_name: quantity.name for quantity in _TABLE}
    hits = [function for function in spelled if function.endswith("_" + wanted)]
    hits += difflib.get_close_matches(wanted, spelled, n=3, cutoff=0.6)
    return [spelled[hit] for hit in dict.fromkeys(hits)][:3]
