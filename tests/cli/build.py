"""Hand-built runs for the tests of reports, commands and exporters: figures are made up."""

from __future__ import annotations

from typing import Any

from fwprof.choices import parse_framework
from fwprof.records import (
    Block,
    CellPlan,
    CellResult,
    CellSummary,
    Check,
    Comparison,
    Crossing,
    CurveAgreement,
    Description,
    Device,
    Failure,
    Group,
    MachineFacts,
    Measurement,
    MetricValue,
    PluginRef,
    Reading,
    Recommendation,
    RunPlan,
    RunRequest,
    RunResult,
    RunSummary,
    Schedule,
    TargetTime,
    TrainingPoint,
    WorkloadPlan,
)
from fwprof.records.result import Equivalence

RUN_ID = "01KAM3V0M8S7Q4D2N5X6Y7Z8A9"
CPU = Device(name="cpu", kind="cpu", title="Example 9000, 2 cores")
MACHINE = MachineFacts(
    system="Linux",
    kernel="6.1",
    machine="x86_64",
    python="3.11.7",
    processor="Example 9000",
    cores=2,
    logical_cpus=4,
    fingerprint="f" * 16,
)
NO_ENERGY = "no counter is readable: the file may be read by root alone"
SETTINGS = {"threads": 2, "matmul_precision": "highest", "deterministic": False}


def plugin(kind: str, name: str) -> PluginRef:
    return PluginRef(kind=kind, name=name, distribution=f"fwprof-{name}", version="0.1.0", value=f"x_{name}")


def cell_plan(cell_id: str, workload: str, choice: str, **changes: Any) -> CellPlan:
    framework = parse_framework(choice)
    return CellPlan(
        **{
            "id": cell_id,
            "workload": WorkloadPlan(name=workload),
            "framework": plugin("framework", framework.name),
            "choice": framework,
            "device": CPU,
            "device_plugin": plugin("device", "cpu"),
            "batch_size": 64,
            "threads": 2,
            "environment": framework.name,
            **changes,
        }
    )


def run_result(*cells: tuple[CellPlan, CellResult], **changes: Any) -> RunResult:
    plans: dict[str, list[CellPlan]] = {}
    for plan, _ in cells:
        plans.setdefault(plan.workload.name, []).append(plan)
    schedule = changes.pop("schedule", Schedule())
    unavailable = changes.pop("unavailable", {})
    request = changes.pop("request", RunRequest())
    plan = RunPlan(
        run_id=RUN_ID,
        fwprof_version="0.1.0",
        created="2026-01-02T03:04:05Z",
        request=request,
        groups=tuple(Group(name=name, cells=tuple(group)) for name, group in plans.items()),
        schedule=schedule,
        limits={},
        unavailable=unavailable,
    )
    return RunResult(
        **{
            "plan": plan,
            "machine": MACHINE,
            "finished": "2026-01-02T03:05:35Z",
            "duration_ns": 34_200_000_000,
            "cells": tuple(result for _, result in cells),
            **changes,
        }
    )


def cell_result(cell_id: str, mode: str = "eager", **changes: Any) -> CellResult:
    blocks = tuple(
        Block(
            round=number, order=0, program="run", start_ns=number * 10**7, step_ns=(410_000, 414_000 + number)
        )
        for number in range(2)
    )
    description = Description(
        mode=mode,
        native_device="cpu",
        settings=SETTINGS,
        versions={"alpha": "2.13.0"},
        parameter_count=101_770,
        batch_size=64,
    )
    return CellResult(
        **{
            "id": cell_id,
            "fate": "ok",
            "description": description,
            "measurements": (Measurement(session=0, blocks=blocks),),
            "readings": {"energy": Reading(value=None, unit="uJ/step", reason=NO_ENERGY)},
            **changes,
        }
    )


def failed_cell(cell_id: str, fate: str = "unsupported", **changes: Any) -> CellResult:
    failure = Failure(
        fate=fate,
        stage="import",
        plugin="fwprof-alpha 0.1.0",
        message="mode graph needs a C++ compiler, and none was found",
        next="install g++, or leave :graph out",
    )
    return CellResult(**{"id": cell_id, "fate": fate, "failure": failure, **changes})


def times(step_us: float, *phases_us: tuple[float, float, float]) -> dict[str, MetricValue]:
    """Step p50 in µs, and (p50, low, high) of forward, backward and optimizer."""
    names = ("forward_time", "backward_time", "optimizer_time")
    metrics = {
        "step_time": MetricValue(
            unit="ns",
            p50=step_us * 1e3,
            p10=step_us * 0.97e3,
            ci95=(step_us * 0.99e3, step_us * 1.012e3),
            count=40,
        )
    }
    for name, (p50, low, high) in zip(names, phases_us, strict=True):
        kind = "measured" if name == "forward_time" else "marginal"
        metrics[name] = MetricValue(
            unit="ns", kind=kind, p50=p50 * 1e3, ci95=(low * 1e3, high * 1e3), count=40
        )
    return metrics


def rest(rate: float, **changes: MetricValue) -> dict[str, MetricValue]:
    return {
        "throughput": MetricValue(
            unit="samples/s", kind="derived", p50=rate, ci95=(rate * 0.985, rate * 1.01), count=40
        ),
        "host_peak": MetricValue(unit="bytes", value=342_000_000),
        "host_import": MetricValue(unit="bytes", value=301_000_000),
        "import_time": MetricValue(unit="ns", value=3_100_000_000),
        "build_time": MetricValue(unit="ns", value=41_000_000),
        "first_step_time": MetricValue(unit="ns", value=18_300_000),
        "compile_time": MetricValue(unit="ns", kind="derived", value=17_900_000),
        "energy": MetricValue(unit="uJ/step", reason=NO_ENERGY),
        "share_of_best_gemm": MetricValue(unit="percent", kind="derived", value=6.2),
        **changes,
    }


def cell_summary(
    cell_id: str, workload: str, framework: str, mode: str | None, **changes: Any
) -> CellSummary:
    return CellSummary(
        **{
            "id": cell_id,
            "framework": framework,
            "mode": mode,
            "backend": None,
            "device": "cpu",
            "workload": workload,
            "batch_size": 64,
            "precision": "float32",
            "settings_preset": "as-shipped",
            "fate": "ok",
            "labels": (),
            "reason": None,
            "sessions": 1,
            "threads": 2,
            "environment": framework,
            "world_size": 1,
            "data_pipeline": "staged",
            "trainable": "all",
            "bound": None,
            "training": (),
            "versions": {"alpha": "2.13.0", "beta": "4.1"},
            "settings": SETTINGS,
            "equivalence": Equivalence(),
            "metrics": {},
            **changes,
        }
    )


def summary(*cells: CellSummary, **changes: Any) -> RunSummary:
    return RunSummary(run=RUN_ID, path=f"fwprof-runs/{RUN_ID}", cells=cells, **changes)


def training(epochs: int, best: float, *, seed: int = 0) -> tuple[TrainingPoint, ...]:
    """Points of a curve that rises to an accuracy of nearly `best`."""
    points = []
    for epoch in range(1, epochs + 1):
        for split, gain in (("train", 0.02), ("validation", 0.0)):
            accuracy = best + gain - 0.5 / 2**epoch - 0.002 * seed
            points.append(
                TrainingPoint(
                    epoch=epoch, split=split, seed=seed, loss=2 * (1.01 - accuracy), accuracy=accuracy,
                    precision=accuracy + 0.001, recall=accuracy - 0.001, f1=accuracy,
                )
            )  # fmt: skip
    return tuple(points)


def training_times(epoch_ms: float, **changes: MetricValue) -> dict[str, MetricValue]:
    found = {"epoch_time": epoch_ms, "first_epoch_time": 1.5 * epoch_ms, "evaluate_time": epoch_ms / 8,
             "predict_time": epoch_ms / 96, "time_to_accuracy": 7 * epoch_ms}  # fmt: skip
    return {
        name: MetricValue(unit="ns", p50=value * 1e6, count=19) for name, value in found.items()
    } | changes


MLP = times(412, (113, 111, 116), (141, 136, 146), (158, 153, 164))
LENET = times(2_013, (702, 690, 720), (1_290, 1_260, 1_330), (21, -14, 48))


def quick_set() -> tuple[RunResult, RunSummary]:
    """One framework, two workloads, one process, a label and a training pass."""
    result = run_result(
        (cell_plan("mlp-1", "mlp", "alpha"), cell_result("mlp-1")),
        (cell_plan("lenet-1", "lenet", "alpha"), cell_result("lenet-1")),
    )
    cells = (
        cell_summary(
            "mlp-1", "mlp", "alpha", "eager",
            metrics=MLP | rest(155_420) | training_times(13.4), bound="overhead", labels=("synthetic_data",),
            training=training(20, 0.97), target_accuracy=0.95,
            targets=(TargetTime(seed=0, epoch=7, duration_ns=93_800_000),),
        ),
        cell_summary(
            "lenet-1", "lenet", "alpha", "eager",
            metrics=LENET | rest(31_800), bound="compute", labels=("synthetic_data", "contended"),
        ),
    )  # fmt: skip
    return result, summary(*cells)


def comparison() -> tuple[RunResult, RunSummary]:
    """Three modes of two frameworks compared over five processes, one cell unsupported."""
    plans = [
        cell_plan("a", "mlp", "alpha"),
        cell_plan("b", "mlp", "alpha:graph"),
        cell_plan("c", "mlp", "beta"),
        cell_plan("d", "mlp", "beta:jit"),
    ]
    results = [cell_result("a"), failed_cell("b"), cell_result("c"), cell_result("d", mode="jit")]
    result = run_result(
        *zip(plans, results, strict=True),
        schedule=Schedule(budget="thorough", sessions=5, replica=True),
        unavailable={"device gamma": "no driver is loaded; looked for /dev/gamma0"},
    )
    cells = (
        cell_summary("a", "mlp", "alpha", "eager", sessions=5, bound="overhead",
                     metrics=MLP | rest(155_420, host_peak=MetricValue(
                         unit="bytes", value=342_000_000, p50=342_000_000, ci95=(338_600_000, 345_500_000),
                         count=5)) | training_times(13.4),
                     training=training(10, 0.97) + training(10, 0.97, seed=1), target_accuracy=0.95,
                     targets=(TargetTime(seed=0, epoch=6, duration_ns=93_800_000),
                              TargetTime(seed=1, epoch=8, duration_ns=98_200_000))),
        cell_summary("b", "mlp", "alpha", None, fate="unsupported", reason=failed_cell("b").failure.message,
                     settings={}, versions={}, sessions=0),
        cell_summary("c", "mlp", "beta", "eager", sessions=5,
                     metrics=MLP | rest(155_420) | training_times(14.1, time_to_accuracy=MetricValue(
                         unit="ns", reason="1 of 2 seeds did not reach 95 % in 10 epochs")),
                     training=training(10, 0.951) + training(10, 0.951, seed=1), target_accuracy=0.95,
                     targets=(TargetTime(seed=0, epoch=9, duration_ns=127_000_000),
                              TargetTime(seed=1, epoch=None, duration_ns=None, reason="did not reach it")),
                     settings=SETTINGS | {"deterministic": True},
                     checks=(Check(name="finite loss", passed=False, detail="the loss was NaN in round 3"),)),
        cell_summary("d", "mlp", "beta", "jit", metrics=LENET | rest(31_800), sessions=5),
    )  # fmt: skip
    why = "the interval holds 1 (5 sessions, 3 cells judged at once)"
    slower = "the interval excludes 1 (5 sessions, 3 cells judged at once)"
    comparisons = (
        Comparison(metric="step_time", a="a", b="c", ratio=1.004, ci95=(0.98, 1.03), noise_floor=0.012,
                   verdict="no difference shown", why=why),
        Comparison(metric="step_time", a="a", b="d", ratio=4.886, ci95=(4.6, 5.2), noise_floor=0.012,
                   verdict="slower", why=slower),
        Comparison(metric="step_time", a="c", b="d", ratio=4.86, ci95=(4.6, 5.1), noise_floor=0.012,
                   verdict="slower", why=slower),
    )  # fmt: skip
    nearest = "the nearest, d, {} 4.89 × (4.60–5.20)"
    recommendations = (
        Recommendation(scenario="fastest training", choice=("a", "c"), metrics=("step_time",),
                       evidence="no difference shown between them; 1 slower than one of them at least"),
        Recommendation(scenario="resource-limited", choice=("a",), metrics=("host_peak",),
                       evidence="host peak 342 MB with 301 MB of import, below all 2 others; "
                                + nearest.format("needs")),
        Recommendation(scenario="quickest first result", choice=("c",), metrics=("first_result_time",),
                       evidence="first result time 3.14 s, ahead of all 2 others; "
                                + nearest.format("takes")),
        Recommendation(scenario="after compile is amortised", choice=("c", "a"),
                       metrics=("first_result_time", "step_time"),
                       crossings=(Crossing(before="c", after="a", steps=1210, ci95=(905, 1640)),),
                       evidence="c up to about 1,200 steps (900–1,600), "
                                "then a, which starts 2.1 s later and takes 1.7 ms less per step"),
        Recommendation(scenario="steadiest", choice=(), metrics=("step_spread",),
                       evidence="cannot be said: others used the CPU in every session of d"),
    )  # fmt: skip
    agreement = CurveAgreement(
        cells=("a", "c"), epochs=10, seeds=2, measure="accuracy", difference=0.019, between=("c", "a"),
        spread=0.002, start_difference=2e-7,
        conclusion="the first step's loss agrees to 2e-07, the final validation accuracy differs by 1.9"
        " points at most (means of 2 seeds), between c and a, more than the 0.2 points by which seeds differ",
    )  # fmt: skip
    return result, summary(
        *cells, comparisons=comparisons, recommendations=recommendations, agreements=(agreement,)
    )
