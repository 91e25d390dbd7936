"""What will be measured, fully resolved: the one document a worker is started from."""

from __future__ import annotations

from typing import Literal

from fwprof.records.base import Record, Scalar
from fwprof.records.request import (
    Budget,
    FrameworkChoice,
    Precision,
    RunRequest,
    ScheduleKind,
    SettingsPreset,
    StageName,
)
from fwprof.records.workload import ResolvedLayer, Workload


class PluginRef(Record, frozen=True, kw_only=True):
    """One installed plugin, as distribution metadata names it. Nothing was imported to make it."""

    kind: str
    """framework, device, meter or exporter."""
    name: str
    distribution: str
    version: str
    value: str
    """The entry point's object reference, `module` or `module:attribute`."""
    runs_on: dict[str, str] = {}
    """Package → installed version, of what the `framework` extra of the plugin names."""


class Peak(Record, frozen=True, kw_only=True):
    """The most arithmetic of one format that a data sheet promises of a device."""

    flops_per_s: float
    """Of dense products, 2 a multiply-add: what a data sheet says of sparse ones is halved."""
    source: str
    """The data sheet, by its name."""


class Device(Record, frozen=True, kw_only=True):
    """Where a cell trains, as its device plugin describes it."""

    name: str
    """What `--device` selects: `cpu`, or `<plugin>:<index>` style names."""
    uuid: str = ""
    kind: str
    """Name of the device plugin; workloads choose batch sizes by it."""
    title: str = ""
    """What a person calls it, e.g. the processor's model name."""
    native: dict[str, str] = {}
    """Framework name → how that runtime names this device."""
    environment: dict[str, str] = {}
    """Variables that must stand before the framework is imported."""
    capabilities: dict[str, Scalar] = {}
    precisions: tuple[str, ...] | None = None
    """Formats that it computes in; None: not told here, and left to the framework."""
    peaks: dict[str, Peak] = {}
    """Precision → what a data sheet promises of it, where the plugin names one: `mfu` is a share of it."""
    no_peaks: str = ""
    """Why no data sheet speaks of this device, where the plugin looked for one."""
    memory_bytes: int | None = None
    exclusive: bool = False
    """One worker at a time: the default schedule on it is sequential."""
    in_use_by: tuple[str, ...] | None = None
    """Processes outside of this run that compute on it, as a person is told; None: not told here."""
    note: str = ""

    @property
    def remark(self) -> str:
        """What a person should know before it is chosen; empty where there is nothing."""
        use = f"in use by {', '.join(self.in_use_by)}" if self.in_use_by else ""
        return "; ".join(part for part in (use, self.note) if part)


class NativeModel(Record, frozen=True, kw_only=True):
    """The user's own model: where its factory is."""

    factory: str
    """`/absolute/file.py:function` or `module:function`."""
    arguments: dict[str, Scalar] = {}


class WorkloadPlan(Record, frozen=True, kw_only=True):
    """A neutral workload with every shape resolved, or the user's own model."""

    name: str
    spec: Workload | None = None
    layers: tuple[ResolvedLayer, ...] = ()
    native: NativeModel | None = None
    parameter_count: int | None = None
    flops: int | None = None
    """FLOP of one training step at the cell's batch size; None where it cannot be known."""
    traffic_bytes: int | None = None
    """Bytes one training step must move at least; None where it cannot be known."""
    data_size: int | None = None
    """Training samples that are used; None: not counted, as of the user's own model."""


CellPrecision = Precision | Literal["float64"]
"""float64 in workers that verify, on the host, and nowhere else."""


class CellPlan(Record, frozen=True, kw_only=True):
    """One cell: the unit that is measured. `prepare` and `build_model` read it."""

    id: str
    workload: WorkloadPlan
    framework: PluginRef
    choice: FrameworkChoice
    device: Device
    device_plugin: PluginRef
    meter_plugins: tuple[PluginRef, ...] = ()
    precision: CellPrecision = "float32"
    batch_size: int | None
    """None for the user's own model until it was built."""
    threads: int
    settings_preset: SettingsPreset = "as-shipped"
    environment: str
    interpreter: str | None = None
    """None: the interpreter that fwprof itself runs in."""
    world_size: int = 1
    data_pipeline: str = "staged"
    trainable: str = "all"
    seed: int = 0
    is_verification: bool = False
    """Whether answers are compared instead of timed (docs/reference/equivalence.md): dropout is
    off, optimizers take the canonical form, and `precision` may be float64."""

    @property
    def limits_key(self) -> str:
        """Under which key a result keeps the machine's limits that this cell is held against.

        Device, threads, precision, and the preset where it is not the default: presets change in
        which format float32 products are computed.
        """
        key = f"{self.device.name}/{self.threads}/{self.precision}"
        return key if self.settings_preset == "as-shipped" else f"{key}/{self.settings_preset}"

    def training_seeds(self, count: int) -> tuple[int, ...]:
        """Return the seeds of its training passes: they count up from its own."""
        return tuple((self.seed + number) % 2**32 for number in range(count))


class HostPlace(Record, frozen=True, kw_only=True):
    """The host as a device, and the plugin that found it."""

    device: Device
    plugin: PluginRef


class Group(Record, frozen=True, kw_only=True):
    """The cells that one command compares with each other."""

    name: str
    cells: tuple[CellPlan, ...]


class Schedule(Record, frozen=True, kw_only=True):
    """How long and in which order to measure (docs/reference/protocol.md explains each number)."""

    budget: Budget = "default"
    kind: ScheduleKind = "interleaved"
    sessions: int = 1
    replica: bool = False
    """Whether each session also measures a replica of one cell, the A/A control."""
    min_rounds: int = 10
    max_rounds: int | None = None
    """None: until the half-width is reached or the time is used up."""
    half_width: float = 0.05
    max_seconds: float = 90.0
    block_ns: int = 8_000_000
    min_block_steps: int = 5
    lead_in_ns: int = 10_000_000
    no_lead_in_above_ns: int = 50_000_000
    pipelined_steps: int = 4
    warm_up_steps: int = 3
    warm_up_ns: int = 500_000_000
    warm_up_cap_ns: int = 3_000_000_000
    steady_tolerance: float = 0.05
    settle_cap_ns: int = 250_000_000


class RunPlan(Record, frozen=True, kw_only=True):
    """The whole run: written to plan.json before anything is measured."""

    schema_version: int = 1
    run_id: str
    fwprof_version: str
    created: str
    """UTC, ISO 8601."""
    request: RunRequest
    groups: tuple[Group, ...]
    schedule: Schedule
    limits: dict[StageName, float]
    """Wall-clock limit of each stage in seconds."""
    unavailable: dict[str, str] = {}
    """What was asked for and cannot run here (`plugin or device` → why); the rest goes on."""
    host: HostPlace | None = None
    """Where cells of other devices are verified in float64; None: all cells are on the host."""
    is_isolated: bool = True
    """Whether every worker is a process of its own."""
    resumes: str = ""
    """Id of the run whose finished parts this one took over; empty: it began with nothing."""

    def cells(self) -> tuple[CellPlan, ...]:
        """Return the cells of all groups in order."""
        return tuple(cell for group in self.groups for cell in group.cells)
