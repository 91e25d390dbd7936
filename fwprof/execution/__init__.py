"""What a worker does between orders: the timed loop, and the passes apart from it.

`session` owns the timed region; `own_loops` the loops that a framework brings along; `passes` the
memory and energy passes; `training` the one for its results; `pipeline` loops through the
framework's own data pipeline; `limits` the machine's best matrix product and copy.
"""
