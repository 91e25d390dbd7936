"""The common table of metrics: name → unit, meaning, better direction.

A plugin declares further metrics under its own namespace (`name.occupancy`, with
a dot); this table holds only what every framework and device shares.
"""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record

Unit = str
"""ASCII, SI where it exists: ns, bytes, samples/s, uJ/step, mW, percent, 1."""


class Metric(Record, frozen=True, kw_only=True):
    """One measured or derived quantity."""

    name: str
    unit: Unit
    better: Literal["lower", "higher", "neither"]
    meaning: str
    kind: Literal["measured", "marginal", "derived"] = "measured"


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS = _table(
    Metric(
        name="step_time", unit="ns", better="lower", meaning="one whole training step, waited for (program S)"
    ),
    Metric(
        name="forward_time", unit="ns", better="lower", meaning="model and loss in training mode (program F)"
    ),
    Metric(
        name="backward_time",
        unit="ns",
        better="lower",
        meaning="what obtaining all gradients adds to F (G - F)",
        kind="marginal",
    ),
    Metric(
        name="optimizer_time",
        unit="ns",
        better="lower",
        meaning="what updating the parameters adds to G (S - G)",
        kind="marginal",
    ),
    Metric(
        name="data_time",
        unit="ns",
        better="lower",
        meaning="one batch from the pipeline, on the device (program D)",
    ),
    Metric(
        name="pipelined_step_time",
        unit="ns",
        better="lower",
        meaning="one step of several with one wait (program P)",
    ),
    Metric(
        name="step_spread",
        unit="percent",
        better="lower",
        meaning="how far apart the rounds of a session are: quartile range of the step time over its median",
        kind="derived",
    ),
    Metric(
        name="api_time",
        unit="ns",
        better="lower",
        meaning="one step of a training loop of the framework's own; `api_time.fit` where it is called fit",
    ),
    Metric(
        name="save_time",
        unit="ns",
        better="lower",
        meaning="one save of a checkpoint, by the framework's own call, not synced to the disk; "
        "`save_time.state_dict` in the format state_dict",
    ),
    Metric(
        name="restore_time",
        unit="ns",
        better="lower",
        meaning="one restore of it into a built model, from the page cache",
    ),
    Metric(
        name="checkpoint_bytes",
        unit="bytes",
        better="lower",
        meaning="all files of one checkpoint",
    ),
    Metric(
        name="throughput",
        unit="samples/s",
        better="higher",
        meaning="batch size over the pipelined step time",
        kind="derived",
    ),
    Metric(
        name="data_stall",
        unit="ns",
        better="lower",
        meaning="what waiting for the framework's own data pipeline adds to a pipelined step",
        kind="marginal",
    ),
    Metric(
        name="pipeline_epoch_time",
        unit="ns",
        better="lower",
        meaning="one epoch of training steps through the framework's own data pipeline",
    ),
    Metric(
        name="pipeline_throughput",
        unit="samples/s",
        better="higher",
        meaning="samples of an epoch over its time through the data pipeline",
        kind="derived",
    ),
    Metric(
        name="import_time",
        unit="ns",
        better="lower",
        meaning="import of the framework and one empty operation",
    ),
    Metric(
        name="build_time",
        unit="ns",
        better="lower",
        meaning="model, optimizer and programs made on the device",
    ),
    Metric(
        name="first_step_time",
        unit="ns",
        better="lower",
        meaning="the first training step, compilation included",
    ),
    Metric(
        name="first_result_time",
        unit="ns",
        better="lower",
        meaning="from start to the first step's result: import, build and first step",
        kind="derived",
    ),
    Metric(
        name="compile_time",
        unit="ns",
        better="lower",
        meaning="first step minus the steady step",
        kind="derived",
    ),
    Metric(
        name="compilations",
        unit="1",
        better="neither",
        meaning="programs traced or compiled from the first step on, timing included",
    ),
    Metric(
        name="epoch_time",
        unit="ns",
        better="lower",
        meaning="training part of an epoch after the first: each batch staged, stepped and waited for; "
        "making batches on the host, reading losses and evaluation are not in it",
    ),
    Metric(
        name="first_epoch_time",
        unit="ns",
        better="lower",
        meaning="the same of the first epoch, which follows the worker's first two steps: what these "
        "compiled is in first_step_time",
    ),
    Metric(
        name="evaluate_time",
        unit="ns",
        better="lower",
        meaning="the whole validation split staged and predicted, batch by batch, until the outputs are on "
        "the host; scoring them is not in it; after the first epoch",
    ),
    Metric(
        name="predict_time",
        unit="ns",
        better="lower",
        meaning="one full batch of the validation split staged and predicted; after the first epoch",
    ),
    Metric(
        name="time_to_accuracy",
        unit="ns",
        better="lower",
        meaning="training parts of the epochs until the validation accuracy first reached the target, median "
        "over the seeds; evaluation, import, build and the first two steps are not in it",
    ),
    Metric(
        name="host_peak",
        unit="bytes",
        better="lower",
        meaning="peak resident memory of the process group in a fresh process that only builds and trains",
    ),
    Metric(
        name="host_import",
        unit="bytes",
        better="lower",
        meaning="resident memory after import and one empty operation",
    ),
    Metric(
        name="host_work",
        unit="bytes",
        better="lower",
        meaning="what the model needs: host_peak minus host_import",
        kind="derived",
    ),
    Metric(
        name="host_first_step_peak",
        unit="bytes",
        better="lower",
        meaning="peak resident memory of the process group in the first two steps, compilation included",
    ),
    Metric(
        name="host_steady_peak",
        unit="bytes",
        better="lower",
        meaning="the same in later steps: what the allocator kept of the first ones is in it",
    ),
    Metric(
        name="pipeline_peak",
        unit="bytes",
        better="lower",
        meaning="peak resident memory of the process group that trains through the data pipeline",
    ),
    Metric(
        name="largest_batch",
        unit="samples",
        better="higher",
        meaning="largest batch that was seen to train in the memory given (--find-max-batch)",
    ),
    Metric(
        name="device_process_memory",
        unit="bytes",
        better="lower",
        meaning="peak memory of the worker on its device, by the device's own count",
    ),
    Metric(
        name="tensor_peak",
        unit="bytes",
        better="neither",
        meaning="peak of tensors by the framework's own count, whose basis differs: never compared",
    ),
    Metric(
        name="tensor_first_step_peak",
        unit="bytes",
        better="neither",
        meaning="the same in the first two steps, where the framework can count anew from step to step",
    ),
    Metric(
        name="parameter_memory",
        unit="bytes",
        better="neither",
        meaning="the framework's tensors of parameters, frozen ones too, and of batch statistics",
    ),
    Metric(
        name="gradient_memory",
        unit="bytes",
        better="neither",
        meaning="the gradients as they are after a backward pass (program G)",
    ),
    Metric(
        name="optimizer_memory",
        unit="bytes",
        better="neither",
        meaning="what the optimizer keeps from step to step: moments, counters",
    ),
    Metric(
        name="activation_memory",
        unit="bytes",
        better="neither",
        meaning="what the forward pass keeps for the backward pass, or what both hold besides the tensors "
        "above; the basis says which: never compared",
    ),
    Metric(
        name="utilisation",
        unit="percent",
        better="neither",
        meaning="share of time in which the device was busy at all",
    ),
    Metric(
        name="power",
        unit="mW",
        better="lower",
        meaning="mean of the device's power readings; energy is the better figure",
    ),
    Metric(
        name="throttled",
        unit="percent",
        better="neither",
        meaning="share of samples in which the device had lowered its clock for heat or power",
    ),
    Metric(
        name="temperature",
        unit="degC",
        better="neither",
        meaning="highest temperature of the device",
    ),
    Metric(
        name="foreign_processes",
        unit="1",
        better="neither",
        meaning="processes of others that computed on the device, in an untimed pass",
    ),
    Metric(
        name="energy_window",
        unit="uJ",
        better="neither",
        meaning="what a meter counted from start to stop; divided by the steps it becomes `energy`",
    ),
    Metric(
        name="energy",
        unit="uJ/step",
        better="lower",
        meaning="energy of one training step by a hardware counter, the device's idle share included",
    ),
    Metric(
        name="energy_per_sample",
        unit="uJ/sample",
        better="lower",
        meaning="energy of one training step over its batch size",
        kind="derived",
    ),
    Metric(
        name="energy_above_rest",
        unit="uJ/step",
        better="lower",
        meaning="what a training step adds to what the device takes at rest",
    ),
    Metric(
        name="rest_power",
        unit="mW",
        better="neither",
        meaning="power of the device with the model built and nothing running",
    ),
    Metric(
        name="flops",
        unit="FLOP/step",
        better="neither",
        meaning="analytic: 2 x MAC, forward + dW + dX",
        kind="derived",
    ),
    Metric(
        name="arithmetic_intensity",
        unit="FLOP/byte",
        better="neither",
        meaning="analytic: flops over the least bytes that the step moves in this precision",
        kind="derived",
    ),
    Metric(
        name="share_of_best_gemm",
        unit="percent",
        better="higher",
        meaning="FLOP/s of the step over the best matrix product measured here; may exceed 100",
        kind="derived",
    ),
    Metric(
        name="share_of_copy",
        unit="percent",
        better="higher",
        meaning="bytes/s the step needs at least over the best copy measured here; may exceed 100",
        kind="derived",
    ),
    Metric(
        name="mfu",
        unit="percent",
        better="higher",
        meaning="model FLOP utilisation: FLOP/s of the step over the peak of the device's datasheet in this "
        "precision, where the device plugin names one",
        kind="derived",
    ),
)


def metric_of(name: str) -> Metric:
    """Return the entry of a metric; `api_time.fit` is one of `api_time`."""
    return METRICS.get(name) or METRICS[name.partition(".")[0]]
