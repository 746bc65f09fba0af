"""jax's Student-t density with very many degrees of freedom, where it is almost a normal density, in both precisions."""
import math

import jax

jax.config.update("jax_enable_x64", True)
nu = 2.0 ** 20
found = float(jax.scipy.stats.t.logpdf(0.0, nu))
right = -0.5 * math.log(2 * math.pi) - 1 / (4 * nu)  # log Γ((ν + 1)/2) − log Γ(ν/2) = ½ log(ν/2) − 1/(4ν) + O(ν⁻³)
print(f"log density at 0, ν = 2^20: {found!r}, right is {right!r}, relative error {abs(found / right - 1):.0e}")
single = float(jax.scipy.stats.t.logpdf(jax.numpy.float32(0.0), nu))
print(f"in single precision: {single!r}")
print("RIGHT" if abs(found / right - 1) < 1e-13 else "WRONG")
