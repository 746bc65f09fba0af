"""The losses that laplax names "cross_entropy" and "binary_cross_entropy", where the GGN takes them: what do its others do?"""
import jax
import jax.numpy as jnp
from laplax.curv.hessian import create_hessian_mv
from laplax.curv.utils import concatenate_model_and_loss_fn

params, X = {"W": jnp.array([[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]])}, jnp.array([[1.0, 2.0]])
right = True
for loss, target in (("cross_entropy", jnp.array([2])), ("binary_cross_entropy", jnp.array([[1.0, 0.0, 1.0]]))):
    for what, call in (
            ("loss", lambda: concatenate_model_and_loss_fn(lambda input, params: params["W"] @ input, loss, vmap_over_data=True)(
                X, target, params)),
            ("Hessian", lambda: create_hessian_mv(lambda input, params: params["W"] @ input, params,
                                                  {"input": X, "target": target}, loss)(params))):
        try:
            found = jax.tree.leaves(call())[0]
            right &= what == "Hessian" or found.shape == ()
            print(f"{loss}: {what}", found, "" if what == "Hessian" else "for one number")
        except Exception as error:
            right = False
            print(f"{loss}: {what} raised {type(error).__name__}: {str(error).splitlines()[0]}")
print("−log softmax(f)_2 is", -jax.nn.log_softmax(params["W"] @ X[0])[2])
print("RIGHT" if right else "WRONG")
