"""TPU chips as devices of fwprof; `fwprof_tpu.plugin` holds its hooks."""
