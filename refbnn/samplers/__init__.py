"""Markov chains that leave a density invariant, one file a kernel, batched over chains.

A kernel is a frozen dataclass with `init(target, theta) -> State` and `step(target, state, streams) -> (State, Info)`. A target
has num_params and value_and_gradient(theta (*s p)) -> (log_prob (*s), gradient (*s p)); where a kernel needs the parts, also
log_likelihood and prior; gradient(theta) alone, where there is one, is what trajectories use on their way. refbnn.Posterior has
all of these, and a density of your own with these methods will do. Every field of a State and of an Info has chains as its first
axis; `streams` holds one stream of random numbers a chain, so that what a chain does depends on no other.
"""

from refbnn.samplers import adaptation, smc
from refbnn.samplers.adaptation import adapt
from refbnn.samplers.chains import Chains, run
from refbnn.samplers.elliptical import EllipticalSlice
from refbnn.samplers.hmc import Hmc
from refbnn.samplers.nuts import Nuts
from refbnn.samplers.streams import Streams
from refbnn.samplers.symmetry_moves import WithMoves, hidden_units

__all__ = [
    "Chains", "EllipticalSlice", "Hmc", "Nuts", "Streams", "WithMoves", "adapt", "adaptation", "hidden_units", "run", "smc",
]
