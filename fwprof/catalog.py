"""What is installed: plugins by kind and name, from distribution metadata alone.

Nothing is imported to list or find a plugin, so a broken package cannot break the list.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import metadata
from typing import Literal

from fwprof.errors import PluginError, PluginNotFoundError, PluginUnavailableError, RequestError
from fwprof.records import PluginRef, Record

KINDS = {
    "framework": "fwprof.frameworks",
    "device": "fwprof.devices",
    "meter": "fwprof.meters",
    "exporter": "fwprof.exporters",
}
"""Kind of plugin → entry-point group."""

NEEDS = "framework"
"""Name of the extra of a plugin distribution that lists what the plugin runs on."""


class InstalledPlugin(Record, frozen=True, kw_only=True):
    """One installed plugin and whether what it needs is installed too."""

    ref: PluginRef
    state: Literal["ready", "unavailable"]
    reason: str = ""
    next: str = ""


class Environment(Record, frozen=True, kw_only=True):
    """Another environment than this one: its interpreter, and what is installed there."""

    name: str
    """As `--python` names it."""
    interpreter: str
    """Absolute path."""
    plugins: tuple[InstalledPlugin, ...]


def list_plugins(kind: str | None = None) -> tuple[InstalledPlugin, ...]:
    """Return the installed plugins, of one kind or all, ordered by kind, name and distribution."""
    found = []
    for each, group in KINDS.items():
        if kind is None or kind == each:
            points = metadata.entry_points(group=group)
            found += [_describe(each, point) for point in sorted(points, key=lambda p: (p.name, p.value))]
    return tuple(found)


def find_plugin(kind: str, name: str, environment: Environment | None = None) -> PluginRef:
    """Return the one plugin of that kind and name.

    Args:
        environment: where to look; None: here.

    Raises:
        PluginNotFoundError: none is installed; says what is, and the line that would install it.
        PluginError: two distributions use the name.
        PluginUnavailableError: what the plugin runs on is not installed, or not in that version.
    """
    installed = environment.plugins if environment else list_plugins(kind)
    plugins = [plugin for plugin in installed if plugin.ref.kind == kind]
    matches = [plugin for plugin in plugins if plugin.ref.name == name]
    where = f" in environment {environment.name!r}" if environment else ""
    pip = _pip(environment)
    if not matches:
        raise _not_found(kind, name, sorted({plugin.ref.name for plugin in plugins}), environment)
    if len(matches) > 1:
        owners = " and ".join(sorted({plugin.ref.distribution for plugin in matches}))
        raise PluginError(
            f"two {kind} plugins are named {name!r}{where}",
            cause=f"{owners} both register it",
            next=f"{pip} uninstall {matches[-1].ref.distribution}    (or the other one)",
        )
    plugin = matches[0]
    if plugin.state == "unavailable":
        raise PluginUnavailableError(
            f"the {kind} plugin {name!r} is installed{where}, but cannot run {'there' if where else 'here'}",
            cause=plugin.reason,
            next=plugin.next.replace("pip", pip, 1),
        )
    return plugin.ref


def kind_of(name: str) -> str:
    """Return the one kind of plugin that has a name.

    Raises:
        PluginNotFoundError: no plugin has it.
        RequestError: plugins of several kinds have it.
    """
    plugins = list_plugins()
    kinds = sorted({plugin.ref.kind for plugin in plugins if plugin.ref.name == name})
    if not kinds:
        close = get_close_matches(name, {plugin.ref.name for plugin in plugins}, n=1)
        raise PluginNotFoundError(
            f"no plugin {name!r} is installed" + (f"; did you mean {close[0]!r}?" if close else ""),
            next="fwprof plugins lists what is installed",
        )
    if len(kinds) > 1:
        raise RequestError(
            f"plugins of {len(kinds)} kinds are named {name!r}",
            cause=", ".join(kinds),
            next=" or ".join(f"--kind {kind}" for kind in kinds),
        )
    return kinds[0]


def _not_found(
    kind: str, name: str, installed: list[str], environment: Environment | None
) -> PluginNotFoundError:
    close = get_close_matches(name, installed, n=1)
    extra = f"[{NEEDS}]" if kind == "framework" else ""
    names = ", ".join(installed) if installed else "none"
    where, there = (f" in environment {environment.name!r}", " there") if environment else ("", "")
    fwprof = f"{environment.interpreter} -m fwprof.cli.main" if environment else "fwprof"
    return PluginNotFoundError(
        f"no {kind} plugin {name!r} is installed{where}" + (f"; did you mean {close[0]!r}?" if close else ""),
        cause=f"installed {kind} plugins{there}: {names}",
        next=f"{fwprof} plugins"
        if close
        else f"{_pip(environment)} install 'fwprof-{name}{extra}'    (if it exists)",
    )


def _pip(environment: Environment | None) -> str:
    return f"{environment.interpreter} -m pip" if environment else "pip"


def _describe(kind: str, point: metadata.EntryPoint) -> InstalledPlugin:
    distribution = point.dist
    runs_on, reason = _needs(distribution) if distribution else ({}, "")
    ref = PluginRef(
        kind=kind,
        name=point.name,
        distribution=distribution.name if distribution else "unknown",
        version=distribution.version if distribution else "unknown",
        value=point.value,
        runs_on=runs_on,
    )
    if not reason:
        return InstalledPlugin(ref=ref, state="ready")
    return InstalledPlugin(
        ref=ref,
        state="unavailable",
        reason=reason,
        next=f"pip install '{ref.distribution}[{NEEDS}]'",
    )


def _needs(distribution: metadata.Distribution) -> tuple[dict[str, str], str]:
    """Return what of the `framework` extra is installed, and which requirement is not met, if one."""
    found: dict[str, str] = {}
    requirements = [text for text in distribution.requires or [] if "extra" in text]
    if not requirements:
        return found, ""
    # packaging takes 15 ms to import: only where a plugin has extras at all.
    from packaging.requirements import InvalidRequirement, Requirement

    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return found, f"{distribution.name} states a requirement that cannot be read: {text}"
        marker = requirement.marker
        if marker is None or not marker.evaluate({"extra": NEEDS}) or marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            return found, f"it needs {requirement.name}{requirement.specifier}, which is not installed"
        if not requirement.specifier.contains(version, prereleases=True):
            return found, f"it needs {requirement.name}{requirement.specifier}; {version} is installed"
        found[requirement.name] = version
    return found, ""
