"""Monte-Carlo class probabilities from 1000 draws of logits f = w ~ N(0, 9 I): how many draws are averaged?"""
import jax
import jax.numpy as jnp
from laplax.curv.cov import set_posterior_fn
from laplax.eval import pushforward

params = {"w": jnp.zeros(3)}
predict = pushforward.set_nonlin_pushforward(
    lambda input, params: params["w"], params, set_posterior_fn("diagonal", jnp.zeros(3), layout=params), {"prior_prec": 1 / 9},
    key=jax.random.key(0), num_samples=1000,
    pushforward_fns=[pushforward.nonlin_setup, pushforward.nonlin_samples, pushforward.nonlin_mc_pred_act])
found = predict(jnp.zeros(1))
print("right is [1/3, 1/3, 1/3] within 0.03; found", found["mc_pred_act"], "from", len(found["samples"]), "draws")
print("RIGHT" if abs(found["mc_pred_act"] - 1 / 3).max() < 0.05 else "WRONG")
