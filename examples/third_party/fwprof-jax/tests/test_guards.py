"""A jax step that is not waited for: it returns at once, and the engine must notice."""

from __future__ import annotations

import numpy as np

from fwprof.plugin import Batch, LoadedWorkload
from fwprof.testing.guards import NeverWaits, failed_guards
from fwprof.testing.language import find_workload, parameter_shapes, resolve
from fwprof_jax import plugin


def test_a_step_that_is_not_waited_for_is_noticed(build):
    spec = find_workload("mlp")
    resolved = resolve(spec)
    random = np.random.default_rng(0)
    weights = {
        name: 0.05 * random.standard_normal(shape, dtype=np.float32)
        for name, shape in parameter_shapes(resolved).items()
    }
    inputs, targets = random.standard_normal((1024, 784), dtype=np.float32), random.integers(0, 10, 1024)
    workload = LoadedWorkload(
        name="mlp", spec=spec, layers=resolved, weights=weights, batches=[Batch(inputs, targets)]
    )
    model = build(workload)
    programs = plugin.train_step(model=model)
    staged, trained = [model.stage(batch) for batch in workload.batches], frozenset(weights)
    assert "wait_waits" in failed_guards(model, NeverWaits(programs), staged, trained)
    assert failed_guards(model, programs, staged, trained) == frozenset()
