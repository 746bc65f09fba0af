"""Reference implementation of approximate Bayesian neural networks."""
