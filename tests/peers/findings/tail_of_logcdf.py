"""Derivatives of autograd's log Φ far to the left: the first is |x| (1 + 1/x² − 2/x⁴ + ...), the second must go to −1."""
from autograd import grad
from autograd.scipy.stats import norm

first = grad(norm.logcdf)
second = grad(first)
for x in (-100.0, -1e4, -1e6):
    expected = -x * (1 + 1 / x ** 2 - 2 / x ** 4)  # φ/Φ
    print(f"x = {x:.0f}: first derivative off by {abs(float(first(x)) / expected - 1):.0e}, second {float(second(x)):.6g} for "
          f"{-1 + 1 / x ** 2:.6g}")
print("RIGHT" if abs(second(-1e4) + 1) < 1e-6 else "WRONG")
