"""Import, register and check plugins, and blame the one that is wrong.

A fresh manager a cell: it holds one framework, one device and the meters, never all that is
installed, so one broken package cannot take another down.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import pluggy

from fwprof import hookspecs
from fwprof.errors import PluginContractError, PluginError, PluginLoadError
from fwprof.records import PluginRef

REQUIRED = {
    "framework": {"build_model", "train_step"},
    "device": {"devices"},
    "meter": {"measure"},
    "exporter": {"export"},
}
"""Hooks that a plugin of each kind must implement."""

ALLOWED = {
    "framework": {"prepare", "build_model", "train_step", "measure", "peak_kernels", "is_out_of_memory"},
    "device": {"devices", "measure"},
    "meter": {"measure"},
    "exporter": {"export"},
}
"""Hooks that a plugin of each kind may implement."""


def open_plugins(references: Iterable[PluginRef]) -> pluggy.PluginManager:
    """Return a manager that holds exactly these plugins, each imported and checked.

    Raises:
        PluginLoadError: a plugin's import raised; the cause is chained.
        PluginContractError: hooks are missing, unknown, of another kind, or take unknown arguments.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for reference in references:
        _register(manager, reference, load_plugin(reference))
    return manager


def load_plugin(reference: PluginRef) -> object:
    """Import what the entry point names.

    Raises:
        PluginLoadError: the import raised, or the attribute is not there.
    """
    module, _, attribute = reference.value.partition(":")
    try:
        loaded: Any = import_module(module)
        for part in filter(None, attribute.split(".")):
            loaded = getattr(loaded, part)
    except PluginError:
        raise
    except Exception as error:  # the plugin's import runs its author's code
        raise PluginLoadError(
            f"{_name(reference)} could not be imported",
            cause=f"{type(error).__name__}: {error}",
            next=f"report it to the authors of {reference.distribution}, or pip install --upgrade it",
        ) from error
    return loaded


def _register(manager: pluggy.PluginManager, reference: PluginRef, plugin: object) -> None:
    try:
        manager.register(plugin, name=f"{reference.kind}:{reference.name}")
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _broken(reference, str(error).splitlines()[-1].strip()) from error
    except ValueError as error:
        raise _broken(reference, "its object already stands for another plugin of this cell") from error
    callers = manager.get_hookcallers(plugin) or []
    implemented = {caller.name for caller in callers}
    if foreign := implemented - ALLOWED[reference.kind]:
        raise _broken(reference, f"{reference.kind} plugins may not implement {_listed(foreign)}")
    if missing := REQUIRED[reference.kind] - implemented:
        raise _broken(reference, f"it does not implement {_listed(missing)}")
    for caller in callers:
        own = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
        if len(own) != 1 or own[0].hookwrapper or own[0].wrapper:
            raise _broken(reference, f"{caller.name} needs one plain implementation, not a wrapper")


def require_methods(value: object, protocol: type, reference: PluginRef, hook: str) -> None:
    """Check that what a hook returned has every method of its Protocol.

    Raises:
        PluginContractError: it is None, or methods are missing; names them.
    """
    if value is None:
        raise _broken(reference, f"{hook} returned None")
    wanted = {name for name in vars(protocol) if not name.startswith("_")} | set(
        getattr(protocol, "__annotations__", ())
    )
    missing = {name for name in wanted if not hasattr(value, name)}
    if missing:
        raise _broken(reference, f"what {hook} returned has no {_listed(missing)}")


def _broken(reference: PluginRef, cause: str) -> PluginContractError:
    return PluginContractError(
        f"{_name(reference)} does not keep the plugin contract",
        cause=cause,
        next="docs/reference/hooks.md lists the hooks of each kind",
    )


def _name(reference: PluginRef) -> str:
    return f"the {reference.kind} plugin {reference.name!r} ({reference.distribution} {reference.version})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
