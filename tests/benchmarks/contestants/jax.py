"""JAX with everything under jit, compiled before the clock starts; one thread, float64."""

import functools
import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from tests.benchmarks.problems import CHAINS, NUM_STEPS, STEP_SIZE  # noqa: E402

from . import Task  # noqa: E402

jax.config.update("jax_enable_x64", True)
BATCH = 64  # columns at once where all of them would not fit the cache


def prepare(problem):
    """Jacobians by vmap(jacrev) and one product, or G and H column by column: the table takes the faster."""
    X, y, theta, vector = map(jnp.asarray, problem.arrays())

    def network(theta, x):
        *hidden, (W, b) = problem.layers(theta)
        for V, c in hidden:
            x = jnp.tanh(x @ V.T + c)
        return x @ W.T + b

    def cost(f, y):
        return jax.nn.logsumexp(f) - f[y] if problem.classes else 0.5 * jnp.sum((f - y) ** 2)

    def loss(theta):
        return jax.vmap(cost)(network(theta, X), y).sum()

    def jacobian(theta):
        return jax.vmap(jax.jacrev(network), (None, 0))(theta, X)

    def rows(theta):
        """SᵀJ with SSᵀ = Λ: (n c) rows of p."""
        J = jacobian(theta)
        if problem.classes:
            p = jax.nn.softmax(network(theta, X))
            J = jnp.sqrt(p)[..., None] * (J - jnp.einsum("nk,nkp->np", p, J)[:, None])
        return J.reshape(-1, theta.size)

    def ggn(theta):
        R = rows(theta)
        return R.T @ R

    def ggn_product(theta, u):
        f, f_dot = jax.jvp(lambda theta: network(theta, X), (theta,), (u,))
        scaled = jax.jvp(jax.vmap(jax.grad(cost)), (f, y), (f_dot, _no_tangent(y)))[1]
        return jax.vjp(lambda theta: network(theta, X), theta)[1](scaled)[0]

    def empirical(theta):
        g = jax.vmap(jax.grad(lambda theta, x, y: cost(network(theta, x), y)), (None, 0, 0))(theta, X, y)
        return g.T @ g

    def product(theta, u):
        return jax.jvp(jax.grad(loss), (theta,), (u,))[1]

    def columns(product):
        return lambda theta: jax.lax.map(functools.partial(product, theta), jnp.eye(theta.size), batch_size=BATCH)

    functions = {
        "gradient": jax.grad(loss),
        "hessian.hvp": lambda theta: product(theta, vector),
        "jacobian": jacobian,
        "ggn.full/jacobian": ggn,
        "ggn.full/columns": columns(ggn_product),
        "fisher.full/jacobian": ggn,
        "fisher.full/columns": columns(ggn_product),
        "fisher.empirical": empirical,
        "hessian.full/jacfwd": jax.hessian(loss),
        "hessian.full/columns": columns(product),
        "ggn.diag": lambda theta: (rows(theta) ** 2).sum(0),
    }
    tasks = _trajectories(problem, loss) if problem.name == "H" else {}
    if problem.num_params > 2000:
        del functions["hessian.full/jacfwd"]  # all columns at once: several GB
    return {**{key: _compiled(function, theta) for key, function in functions.items()}, **tasks}


def _trajectories(problem, loss):
    """All steps of all chains in one compiled loop, the gradient by vmap: nothing comes back to Python in between."""
    gradient = jax.vmap(jax.grad(lambda theta: -loss(theta) - 0.5 * jnp.sum(theta**2)))

    def trajectory(start):
        def step(_, state):
            theta, momentum, pull = state
            momentum = momentum + 0.5 * STEP_SIZE * pull
            theta = theta + STEP_SIZE * momentum
            pull = gradient(theta)
            return theta, momentum + 0.5 * STEP_SIZE * pull, pull

        theta, momentum = start
        return jax.lax.fori_loop(0, NUM_STEPS, step, (theta, momentum, gradient(theta)))[0]

    return {f"hmc.{chains}": _compiled(trajectory, tuple(map(jnp.asarray, problem.trajectories(chains)))) for chains in CHAINS}


def _no_tangent(y):
    return jnp.zeros(y.shape, jax.dtypes.float0) if jnp.issubdtype(y.dtype, jnp.integer) else jnp.zeros_like(y)


def _compiled(function, theta):
    compiled = jax.jit(function)
    return Task(lambda: compiled(theta).block_until_ready(), compiles=True)
