"""Class probabilities for logits N(mean, covariance) must sum to one."""
import jax.numpy as jnp
from laplax.eval.predictives import mean_field_0_predictive, mean_field_1_predictive, mean_field_2_predictive

mean, covariance = jnp.array([3.0, 0.0, -3.0]), jnp.diag(jnp.array([1.0, 25.0, 1.0]))
sums = [float(mean_field_0_predictive(mean, jnp.diag(covariance)).sum()),
        float(mean_field_1_predictive(mean, jnp.diag(covariance)).sum()), float(mean_field_2_predictive(mean, covariance).sum())]
print("sums of mean_field_0, 1, 2:", [round(total, 4) for total in sums])
print("RIGHT" if max(abs(total - 1) for total in sums) < 1e-5 else "WRONG")
