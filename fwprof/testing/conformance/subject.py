"""A framework plugin under test, and how to build with it what the checks need.

Owns registration of one plugin and the states that capabilities are told by. Knows no check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from fwprof import hookspecs
from fwprof.contracts import LoadedWorkload, Meter, Model, Options, Programs, Staged
from fwprof.loading import ALLOWED, REQUIRED, load_plugin
from fwprof.plugin import Device, Gradients, Scalar, UnsupportedError, Versions
from fwprof.records import CellPlan, PluginRef
from fwprof.testing.conformance.cases import Reference, load_case, plan_of
from fwprof.testing.conformance.verdicts import ConformanceError, NotApplicable, expect
from fwprof.testing.samples import sample_cell

if TYPE_CHECKING:
    from fwprof.contracts import Array

NATIVE_BATCHES = 8
"""Of a user's own model so many batches are drawn once and cycled."""


def import_plugin(plugin: object, kind: str, name: str) -> object:
    """Return the plugin object; a string is an entry point, `module` or `module:attribute`."""
    if not isinstance(plugin, str):
        return plugin
    reference = PluginRef(kind=kind, name=name, distribution=f"fwprof-{name}", version="0", value=plugin)
    return load_plugin(reference)


def register(plugin: object, kind: str, name: str) -> pluggy.PluginManager:
    """Return a manager that holds the plugin alone.

    Raises:
        ConformanceError: the plugin does not keep the contract of its kind.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded = import_plugin(plugin, kind, name)
    try:
        manager.register(loaded)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        expect(False, f"pluggy refuses the plugin: {str(error).splitlines()[-1].strip()}")
    implemented = {caller.name for caller in manager.get_hookcallers(loaded) or ()}
    missing, foreign = sorted(REQUIRED[kind] - implemented), sorted(implemented - ALLOWED[kind])
    expect(not missing, f"{kind} plugins must implement {', '.join(missing)}")
    expect(not foreign, f"{kind} plugins may not implement {', '.join(foreign)}")
    return manager


def register_or_leave(plugin: object, kind: str, name: str) -> pluggy.PluginManager:
    """Register the plugin for a check of something else than its hooks.

    Raises:
        NotApplicable: its hooks are wrong, which `check_hooks_keep_the_contract` says.
    """
    try:
        return register(plugin, kind, name)
    except ConformanceError as error:
        raise NotApplicable(f"the plugin cannot be registered: {error}") from error


@dataclass
class Built:
    """A model, its programs and the staged batches of one small workload."""

    loaded: LoadedWorkload
    model: Model
    programs: Programs
    staged: list[Staged]

    def reference(self) -> Reference:
        """Return the float64 reference at the canonical start."""
        return Reference(self.loaded)

    def forward(self, batch: int = 0) -> float:
        """Run F on one batch and return the loss."""
        result = self.programs.forward(self.staged[batch])
        self.programs.wait(result)
        return self.programs.read(result)[0]

    def gradients(self, batch: int = 0) -> tuple[float, Gradients]:
        """Run G on one batch and return loss and gradients."""
        result = self.programs.forward_backward(self.staged[batch])
        self.programs.wait(result)
        loss, gradients = self.programs.read(result)
        return loss, gradients or {}

    def step(self, batch: int = 0) -> float:
        """Run S on one batch and return the loss."""
        result = self.programs.run(self.staged[batch])
        self.programs.wait(result)
        return self.programs.read(result)[0]

    def steps(self, count: int = 3) -> list[float]:
        """Run S on the first `count` batches and return the losses."""
        return [self.step(batch) for batch in range(count)]

    def trained(self) -> frozenset[str]:
        """Return the names of the trainable parameters."""
        return frozenset(name for layer in self.loaded.layers for name in layer.parameters)

    def parameters(self) -> Mapping[str, Array]:
        """Return the parameters and statistics."""
        return self.model.parameters()

    def copies(self) -> Mapping[str, Array]:
        """Return copies of them, whether or not the plugin makes copies itself."""
        return {name: value.copy() for name, value in self.model.parameters().items()}


@dataclass
class FrameworkSubject:
    """A framework plugin, and what it can do.

    Args:
        plugin: the plugin object, or its entry point `module[:attribute]`; checks that need
            fresh processes need the latter, or a module.
        name: of the framework, as users type it.
        folder: an empty folder, for caches and files.
        variant: which to check; None: the default.
        options: as `--plugin NAME,key=value` gives them.
        device: where to build; by default the cpu, whose native name is `cpu`.
        change_setting: a context manager that changes one setting of the framework behind the
            plugin's back and gives its name in `settings()` and the value to be read there.
        follows_threads: whether some setting shows the number of threads asked for.
        native: a factory of a user's own model, as `--model` names it; None: not supported.
        reuse: build each workload once and reset it between checks, where building is slow.
        tolerance: of float32 against the float64 reference, relative to a tensor's maximum.
    """

    plugin: object
    name: str
    folder: Path
    variant: str | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    device: Device | None = None
    change_setting: Callable[[], AbstractContextManager[tuple[str, Scalar]]] | None = None
    follows_threads: bool = True
    native: Callable[[], Mapping[str, Any]] | None = None
    reuse: bool = False
    tolerance: float = 1e-4
    _built: dict[str, Built] = field(default_factory=dict, repr=False)

    @cached_property
    def manager(self) -> pluggy.PluginManager:
        """The manager that holds the plugin alone."""
        return register_or_leave(self.plugin, "framework", self.name)

    @property
    def entry_point(self) -> str | None:
        """The plugin's `module[:attribute]`; None of an object that a fresh process cannot import."""
        if isinstance(self.plugin, str):
            return self.plugin
        return self.plugin.__name__ if isinstance(self.plugin, ModuleType) else None

    def cell(
        self,
        loaded: LoadedWorkload,
        *,
        threads: int = 1,
        variant: str | None = None,
        options: Mapping[str, Scalar] | None = None,
        value: str = "",
    ) -> CellPlan:
        """Return the plan of a cell of this plugin."""
        return sample_cell(
            name=self.name,
            variant=variant or self.variant,
            options=self.options if options is None else options,
            device=self.device,
            workload=plan_of(loaded),
            value=value,
            threads=threads,
        )

    @cached_property
    def versions(self) -> Versions | None:
        """What `prepare` returned; None where the plugin has no such hook. Prepared once."""
        plan = self.cell(load_case("plain"))
        versions: Versions | None = self.manager.hook.prepare(plan=plan, cache=self.folder)
        return versions

    def build_prepared(self, loaded: LoadedWorkload, cell: CellPlan) -> Built:
        """Build one workload as its plan says; `prepare` was called before."""
        hook = self.manager.hook
        options = Options(cell=cell, cache=self.folder)
        model = hook.build_model(workload=loaded, device=cell.device, options=options)
        expect(model is not None, "build_model returned None")
        programs = hook.train_step(model=model)
        expect(programs is not None, "train_step returned None")
        return Built(loaded, model, programs, [model.stage(batch) for batch in loaded.batches])

    def build_native(self, factory: Callable[[], Mapping[str, Any]]) -> Built:
        """Build a user's own model, as a worker does."""
        _ = self.versions
        made = factory()
        batches = made["batches"]
        first = tuple(islice(iter(batches() if callable(batches) else batches), NATIVE_BATCHES))
        loaded = LoadedWorkload(name="native", batches=first, native=made)
        return self.build_prepared(loaded, self.cell(loaded))

    def build(self, case: str = "plain") -> Built:
        """Build one of the small workloads, or reset the one built before.

        Raises:
            NotApplicable: the plugin says that it does not support the workload.
        """
        if self.reuse and case in self._built:
            self._built[case].model.reset()
            return self._built[case]
        loaded = load_case(case)
        try:
            _ = self.versions
            self._built[case] = self.build_prepared(loaded, self.cell(loaded))
        except UnsupportedError as error:
            if case == "plain":
                raise
            raise NotApplicable(f"{self.name} does not support the workload: {error}") from error
        return self._built[case]

    def meters(self) -> list[Meter]:
        """Return the meters of the plugin."""
        built = self.build()
        device = self.cell(built.loaded).device
        lists = self.manager.hook.measure(model=built.model, device=device)
        return [meter for each in lists for meter in each or ()]
