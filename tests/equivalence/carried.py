"""A fresh process that starts one framework from a weights file, and writes what it predicts.

    python carried.py NAME[:VARIANT] ENTRY_POINT FOLDER

FOLDER holds `*.yaml`, each with `weights`. Not a test: test_carry.py runs it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from fwprof import workloads
from fwprof.records import Device
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.workloads.data import load_data
from fwprof.workloads.inputs import read_inputs, write_inputs

BATCH = 16


def main(name: str, entry_point: str, folder: Path) -> None:
    """Write the outputs of the first validation batch of each workload beside it."""
    framework, _, variant = name.partition(":")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    subject = FrameworkSubject(
        plugin=entry_point,
        name=framework,
        variant=variant or None,
        folder=folder,
        device=Device(name="cpu", kind="cpu", native={framework: "cpu"}),
    )
    for path in sorted(folder.glob("*.yaml")):
        plan = workloads.plan_workload(workloads.find_workload(str(path)), BATCH)
        assert plan.spec is not None
        inputs = folder / f"{path.stem}-{name.replace(':', '-')}"
        write_inputs(plan, BATCH, 0, inputs, with_data_set=False)
        loaded = read_inputs(inputs, plan)
        _ = subject.versions
        built = subject.build_prepared(loaded, subject.cell(loaded))
        batch = next(iter(load_data(plan.spec, 0).validation_batches(BATCH)))
        np.save(inputs / "outputs.npy", built.model.predict(built.model.stage(batch)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
