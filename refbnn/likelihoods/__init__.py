"""Likelihoods p(y|f) of the network output f, one file each.

Any object with these methods is a likelihood: log_prob, residual (r), curvature (Λ), factor (S Sᵀ = Λ), third (T), fisher, mean,
covariance, sample, outcomes and check_targets. Derivatives are those of the loss ℓ = −log p(y|f), constants included. Those
whose Λ can be indefinite (StudentT and most of the Heteroscedastic ones) raise ValueError in `factor` at such a datum.

`outcomes(f)` returns points y_j and weights w_j with E_{y~p(.|f)}[g(y)] = Σ_j w_j g(y_j); for methods that take f and y together
give them np.broadcast_to(f, (len(w), *f.shape)).

Two attributes are optional and False where absent: `log_concave`, Λ is never indefinite; `bounded`, targets are of a finite set,
so that their noise is a bump in f, which quadrature must resolve. Those of continuous targets have `distribution` too, for
quantiles: P(target <= y|f) and its density.

`Tempered` is any of them at another temperature; `of_targets` is then the one that describes measurements.

Outputs are k = number of targets, except for Categorical (k classes), the Heteroscedastic family (two outputs a target,
interleaved: location and dispersion of target 1, of target 2, ...) and HeteroscedasticFull (means, then a Cholesky factor).
"""

from refbnn.likelihoods.bernoulli import Bernoulli
from refbnn.likelihoods.bernoulli_cloglog import BernoulliCloglog
from refbnn.likelihoods.bernoulli_probit import BernoulliProbit
from refbnn.likelihoods.categorical import Categorical
from refbnn.likelihoods.gamma import Gamma, HeteroscedasticGamma
from refbnn.likelihoods.heteroscedastic import Heteroscedastic
from refbnn.likelihoods.heteroscedastic_full import HeteroscedasticFull
from refbnn.likelihoods.heteroscedastic_natural import HeteroscedasticNatural, HeteroscedasticPrecision
from refbnn.likelihoods.negative_binomial import HeteroscedasticNegativeBinomial, NegativeBinomial
from refbnn.likelihoods.normal import Normal
from refbnn.likelihoods.normal_full import NormalFull
from refbnn.likelihoods.ordinal import Ordinal
from refbnn.likelihoods.poisson import Poisson
from refbnn.likelihoods.poisson_softplus import PoissonSoftplus
from refbnn.likelihoods.poisson_square import PoissonSquare
from refbnn.likelihoods.student_t import HeteroscedasticStudentT, StudentT
from refbnn.likelihoods.tempered import Tempered

__all__ = [
    "Bernoulli", "BernoulliCloglog", "BernoulliProbit", "Categorical", "Gamma", "Heteroscedastic", "HeteroscedasticFull",
    "HeteroscedasticGamma", "HeteroscedasticNatural", "HeteroscedasticNegativeBinomial", "HeteroscedasticPrecision",
    "HeteroscedasticStudentT", "NegativeBinomial", "Normal", "NormalFull", "Ordinal", "Poisson", "PoissonSoftplus",
    "PoissonSquare", "StudentT", "Tempered",
]
