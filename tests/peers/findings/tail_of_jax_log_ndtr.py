"""Derivatives of jax's log Φ far to the left, in double precision: the second must go to −1."""
import jax

jax.config.update("jax_enable_x64", True)
first = jax.grad(jax.scipy.special.log_ndtr)
second = jax.grad(first)
for x in (-100.0, -1e4, -1e6):
    expected = -x * (1 + 1 / x ** 2 - 2 / x ** 4)  # φ/Φ = |x| (1 + 1/x² − 2/x⁴ + ...)
    print(f"x = {x:.0f}: first derivative off by {abs(float(first(x)) / expected - 1):.0e}, second {float(second(x)):.6g} for "
          f"{-1 + 1 / x ** 2:.6g}")
print("RIGHT" if abs(second(-1e4) + 1) < 1e-6 else "WRONG")
