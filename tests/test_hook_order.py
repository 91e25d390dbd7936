"""Which hook is called when: one readable list, held by playing every order of a run."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec

from fwprof import hookspecs, loading, workloads
from fwprof.codec import encode_pretty
from fwprof.records import PluginRef, Schedule, frames
from fwprof.testing.installed import FakeDistribution, installed
from fwprof.testing.samples import WORKLOAD, sample_cell, sample_result
from fwprof.worker import Worker
from fwprof.workloads.inputs import write_inputs

HOOKS = """
from fwprof.testing import fake_framework
from fwprof.plugin import hookimpl
calls = []


class Noted(fake_framework.FakeFramework):
    @hookimpl
    def prepare(self, plan):
        calls.append("framework: prepare")
        return super().prepare(plan)
    @hookimpl
    def build_model(self, workload, device, options):
        calls.append("framework: build_model")
        return super().build_model(workload, device, options)
    @hookimpl
    def train_step(self, model):
        calls.append("framework: train_step")
        return super().train_step(model)
    @hookimpl
    def measure(self, model):
        calls.append("framework: measure")
        return super().measure(model)
    @hookimpl
    def peak_kernels(self):
        calls.append("framework: peak_kernels")
        return super().peak_kernels()
    @hookimpl
    def is_out_of_memory(self, error):
        calls.append("framework: is_out_of_memory")
        return False

plugin = Noted()

class Card:
    @hookimpl
    def devices(self):
        calls.append("device: devices")
        return []
    @hookimpl
    def measure(self, model):
        calls.append("device: measure")
        return []
card = Card()

class Lines:
    @hookimpl
    def export(self, result, destination):
        calls.append("exporter: export")
        return []
lines = Lines()
"""


def reference(kind: str, value: str) -> PluginRef:
    return PluginRef(kind=kind, name="noted", distribution="fwprof-noted", version="1", value=value)


def test_the_order_of_all_hooks(tmp_path: Path) -> None:
    """Each line is one order to a worker and the hooks it calls, in order."""
    (tmp_path / "run.json").write_bytes(encode_pretty(sample_result(1)))
    (tmp_path / "hooks").mkdir()
    plan = workloads.plan_workload(WORKLOAD, 16)
    write_inputs(plan, 16, 0, tmp_path, with_data_set=False)
    device, exporter = reference("device", "noted_hooks:card"), reference("exporter", "noted_hooks:lines")
    cell = msgspec.structs.replace(
        sample_cell(workload=plan, value="noted_hooks:plugin", options={"fault": "raise", "stage": "check"}),
        device_plugin=device,
    )
    folder = str(tmp_path)
    timing = {
        "open": frames.Open(cell=cell, schedule=Schedule(), inputs=folder, cache=folder),
        "warm_up": frames.WarmUp(program="run", cap_ns=10**6),
        "block": frames.RunBlock(round=0, order=0, program="run", reset=True),
        "readings": frames.TakeReadings(pass_name="memory", seconds=0.0, rate_hz=1.0),
        "check, which raises": frames.CheckAnswers(),
    }
    conversations: list[dict[str, frames.Order]] = [
        {"probe": frames.ListDevices(plugin=device)},
        {**timing},
        {"limits": frames.MeasureLimits(cell=cell, seconds=0.0, cache=folder)},
        {"export": frames.Export(plugin=exporter, run=folder, destination=f"{folder}/x")},
    ]
    heard: list[str] = []
    with installed(tmp_path / "hooks", FakeDistribution(name="fwprof-noted", modules={"noted_hooks": HOOKS})):
        import noted_hooks  # type: ignore[import-not-found]  # written above

        for orders in conversations:
            worker = Worker(lambda _: None, is_isolated=False)
            for title, order in orders.items():
                noted_hooks.calls.clear()
                worker.serve(order)
                heard.append(f"{title}: {', '.join(noted_hooks.calls) or '-'}")
    assert heard == [
        "probe: device: devices",
        "open: framework: prepare, framework: build_model, framework: train_step, "
        "device: measure, framework: measure",
        "warm_up: -",
        "block: -",
        "readings: -",
        "check, which raises: framework: is_out_of_memory",
        "limits: framework: prepare, framework: peak_kernels",
        "export: exporter: export",
    ]


def test_every_hook_stands_in_the_order_of_all_hooks() -> None:
    specified = {name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "fwprof_spec")}
    assert specified == set(itertools.chain.from_iterable(loading.ALLOWED.values()))
    assert all(f"def {name}(self" in HOOKS for name in specified)
