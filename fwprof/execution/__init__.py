"""What a worker does between orders: the timed loop, and the passes apart from it.

`session` owns the timed region; `passes` the memory, energy and training passes; `limits` the
machine's best matrix product and copy.
"""
