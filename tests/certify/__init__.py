"""The generator of the certified cases: a development tool, never imported by the package.

    python -m tests.certify                write every case into refbnn/conform/cases/
    python -m tests.certify -k "relu-*"    only those
    python -m tests.certify --check        recompute, compare byte for byte, write nothing

It shares no code with refbnn. Each module is one step:

    integers    a small integer generator of our own, so that the inputs depend on no library
    question    what is asked: networks, data and priors as exact fractions
    designs     the synthetic cases; awkward, real, structured (other likelihoods, block and Kronecker structures): more
    fields      arithmetic: exact rationals, Arb intervals, 50 and more decimal digits
    jets        truncated Taylor polynomials in all parameters, to second order
    derive      route A: every quantity from its definition, by differentiating polynomials
    closed      route B: every quantity from formulas written index by index
                both have a module for likelihoods and one for structures: derive_*, closed_*
    certify     A and B must agree to 45 digits, and both ends of A's interval round to one double
    condition   how much a value moves when its inputs do
    writer      the bytes of a case file
"""
