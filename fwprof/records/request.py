"""What the user asked for, in the user's words."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fwprof.records.base import Record, Scalar

Precision = Literal["float32", "tf32", "bfloat16", "float16"]
Budget = Literal["quick", "default", "thorough"]
SettingsPreset = Literal["as-shipped", "equal"]
ScheduleKind = Literal["interleaved", "sequential"]
StageName = Literal[
    "start",
    "import",
    "build",
    "verify",
    "first_step",
    "warm_up",
    "block",
    "check",
    "memory",
    "energy",
    "train",
    "checkpoint",
    "pipeline",
    "layers",
    "finish",
]
"""The stages of a worker, in order; the ones that limits and failures name."""


class FrameworkChoice(Record, frozen=True, kw_only=True):
    """`NAME[@ENVIRONMENT][:VARIANT][,key=value]`, parsed. VARIANT is opaque to the core."""

    name: str
    environment: str | None = None
    variant: str | None = None
    options: dict[str, Scalar] = {}

    def __str__(self) -> str:
        options = "".join(f",{key}={value}" for key, value in self.options.items())
        at = f"@{self.environment}" if self.environment else ""
        variant = f":{self.variant}" if self.variant else ""
        return f"{self.name}{at}{variant}{options}"


class ModelChoice(Record, frozen=True, kw_only=True):
    """The user's own model: `[FRAMEWORK=]FILE.py:FACTORY` or `[FRAMEWORK=]MODULE:FACTORY`."""

    factory: str
    framework: str | None = None
    """The framework plugin it is for; None where one framework was chosen."""
    arguments: dict[str, Scalar] = {}
    """Keyword arguments for the factory (`--set model.NAME=value`)."""


class DataChoice(Record, frozen=True, kw_only=True):
    """Samples to train on instead of the workload's own: `NAME[:DIR]`, parsed."""

    source: str
    folder: str | None = None
    """Where the files are, of a source that the user brings; relative to the working directory."""

    def __str__(self) -> str:
        return self.source if self.folder is None else f"{self.source}:{self.folder}"


HOST = "cpu"
"""The reserved name of the host as a device."""


class RunRequest(Record, frozen=True, kw_only=True):
    """One request: workloads × frameworks × devices × …, and how long to measure.

    Lists multiply into cells. Empty `workloads` with empty `models` stands for the quick set.
    """

    workloads: tuple[str, ...] = ()
    """Built-in names, or paths of workload YAML files."""
    models: tuple[ModelChoice, ...] = ()
    plugins: tuple[FrameworkChoice, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    meters: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ("float32",)
    batch_sizes: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    """Empty: what the workload says for the device's kind."""
    data: DataChoice | None = None
    """None: what each workload says."""
    data_sizes: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    """Numbers of training samples used. Empty: what the workload says, else all there are."""
    threads: tuple[Annotated[int, msgspec.Meta(ge=1)] | Literal["all"], ...] = ("all",)
    """`all`: the physical cores granted to this process."""
    settings: Literal["as-shipped", "equal", "both"] | None = None
    """None: as-shipped for one framework, both where frameworks are compared."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    find_max_batch: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Search the largest batch that trains in so many bytes: of the device's memory, or of the process's on
    the host. None: no such search."""
    epochs: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    """Train this many epochs in a pass of its own and report scores and times; 0: no such pass."""
    training_seeds: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    """Train so often, with seeds that count up from `seed`."""
    target_accuracy: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Validation accuracy to which `time_to_accuracy` counts. None: the workload's own, if it has one."""
    checkpoints: bool = False
    """Save and restore a checkpoint in each format of the framework, in an untimed pass."""
    save_weights: bool = False
    """Keep the trained parameters in the run's folder, by canonical name."""
    pipeline: bool = False
    """Also loop over the data through each framework's own pipeline, in a pass of its own."""
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    """Of the pipeline, instead of what the workload says; asks for the pass too."""
    layers: bool = False
    """Also time each layer of the neutral workloads alone, in a pass of its own."""
    budget: Budget = "default"
    schedule: ScheduleKind | None = None
    """None: interleaved, unless a device asks for sequential."""
    processes: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    """Sessions, each of fresh processes. None: what the budget says (5 for thorough, else 1)."""
    rounds: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    """Exactly this many rounds a session, instead of the adaptive stop."""
    half_width: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05
    """Relative half-width of the 95 % interval at which rounds stop."""
    max_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Bound of warm-up and rounds of one group and session; start-up comes on top."""
    exclusive: bool = False
    """Measure on a device only while no process of others computes there, where its plugin tells."""
    limits: dict[StageName, Annotated[float, msgspec.Meta(gt=0)]] = {}
    """Wall-clock limit of a stage in seconds, instead of the default."""
    overrides: dict[str, Scalar] = {}
    """`path.to.field` of the workload → value (`--set`)."""
    environments: dict[str, str] = {}
    """Environment name → interpreter. Empty: every worker runs in this interpreter."""
    equivalence: Literal["check", "only", "skip"] = "check"
    """Whether the cells of a comparison are checked to compute the same; `only`: nothing else."""
    machine_limits: bool = True
    """Measure the machine's best matrix product and copy, which say what bounds a step."""
    memory: bool = True
    """Run the memory pass (a fresh process a cell and session)."""
    output: str = "fwprof-runs"
