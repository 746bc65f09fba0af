"""log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b) and its slope in a, in double precision, where nothing cancels."""
import math

import jax

jax.config.update("jax_enable_x64", True)
worst = 0.0
for a, b in ((1.5, 2.5), (3.0, 9.0), (0.5, 12.0)):
    right = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    slope = float(jax.scipy.special.digamma(a) - jax.scipy.special.digamma(a + b))
    value, found = float(jax.scipy.special.betaln(a, b)), float(jax.grad(jax.scipy.special.betaln)(a, b))
    print(f"a = {a}, b = {b}: value {value!r}, right is {right!r}; slope off by {abs(found / slope - 1):.0e}")
    worst = max(worst, abs(value / right - 1), abs(found / slope - 1))
print("RIGHT" if worst < 1e-13 else "WRONG")
