"""The jax framework plugin of fwprof; `fwprof_jax.plugin` holds its hooks."""
