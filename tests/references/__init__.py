"""Reference posteriors of small networks: log evidence and predictions to 1e-9 or better, each by two quadratures.

    python -m tests.references [ID ...]

writes one JSON file a posterior into tests/references/data. `catalogue` says what they are, `first` has refbnn's answers, and
`second` computes them again in plain NumPy with another rule (Gauss-Legendre) and other formulas, sharing no code with refbnn.
"""
