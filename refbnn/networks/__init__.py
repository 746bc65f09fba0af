"""What a network is and how it is differentiated by hand.

`network` says what every network can do, `mlp` is the one that is computed here. What it is made of, data last: `packed`
triangles, `signals` forward and backward, `assembly` of blocks, the `pullback` of curvatures of the outputs, given `rows`, `jets`
along a line, and `first_order`, where samplers spend their time.
"""
