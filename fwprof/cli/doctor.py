"""`fwprof doctor`: what is here, and what is wrong with it."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import click

import fwprof
from fwprof.cli.examples import with_examples
from fwprof.cli.options import output_option
from fwprof.cli.output import print_sections
from fwprof.errors import ExitCode
from fwprof.report import figures
from fwprof.report.layout import Facts

_COMPILERS = ("c++", "g++", "clang++")
_IMPORT_SECONDS = 60


@click.command("doctor", help=with_examples("Say what is here, and what is wrong with it.", "doctor"))
@output_option
def command(output: str) -> int:
    """Look at everything a run needs."""
    rows = [("fwprof", f"{fwprof.__version__}, Python {platform.python_version()}, {platform.platform()}")]
    rows.append(("machine", _machine()))
    plugins, is_ready = _plugins()
    devices, is_device_here = _devices()
    rows += _named("plugin", plugins)
    rows += _named("device", devices)
    rows.append(("compiler", _compiler()))
    rows.append(("disk", _disk(Path(output))))
    rows.append(("A/A ratios", _control_ratios()))
    is_fit = is_ready and is_device_here
    rows.append(("result", "fit to run" if is_fit else "not fit to run: see above"))
    print_sections([Facts(tuple(rows))])
    return ExitCode.DONE if is_fit else ExitCode.NOT_AVAILABLE


def _named(name: str, texts: list[str]) -> list[tuple[str, str]]:
    return [(name if place == 0 else "", text) for place, text in enumerate(texts)]


def _machine() -> str:
    from fwprof.environment import machine_facts

    facts = machine_facts()
    memory = "" if facts.memory_bytes is None else f", {figures.size(facts.memory_bytes)} of memory"
    guest = f", virtualised ({facts.virtualised})" if facts.virtualised else ""
    governor = f", frequency governor {facts.governor}" if facts.governor else ""
    return f"{facts.processor}, {figures.plural(facts.cores, 'core')} granted{memory}{guest}{governor}"


def _plugins() -> tuple[list[str], bool]:
    """Return a line a plugin, and whether all load and a framework is ready."""
    from fwprof import api

    said, is_whole, has_framework = [], True, False
    for one in api.list_plugins():
        fault = _import_fault(one.ref.value) if one.state == "ready" else ""
        is_whole = is_whole and not fault
        has_framework = has_framework or (one.ref.kind == "framework" and one.state == "ready" and not fault)
        state = f"broken: {fault}" if fault else f"{one.state}: {one.reason}" if one.reason else one.state
        said.append(f"{one.ref.kind} {one.ref.name} ({one.ref.distribution} {one.ref.version}): {state}")
        if one.next:
            said.append(f"  {one.next}")
    if not has_framework:
        said.append("no framework is ready: pip install 'fwprof-NAME[framework]'")
    return said, is_whole and has_framework


def _import_fault(value: str) -> str:
    """Return why a plugin's module cannot be imported; tried in a child, whatever it does there."""
    module = value.partition(":")[0]
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import importlib; importlib.import_module({module!r})"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing {module} took more than {_IMPORT_SECONDS} s"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"importing {module} ended with {done.returncode}"])[-1]


def _devices() -> tuple[list[str], bool]:
    """Return a line a device, and whether there is one."""
    from fwprof import api

    devices, unavailable = api.list_devices()
    said = [
        f"{device.name}: {device.title}" + (f" ({device.remark})" if device.remark else "")
        for device in devices
    ]
    said += [f"{name}: not here: {reason}" for name, reason in unavailable.items()]
    return said or ["no device plugin is installed: pip install fwprof-cpu"], bool(devices)


def _compiler() -> str:
    from shutil import which

    found = next((path for path in map(which, _COMPILERS) if path), None)
    return found or "no C++ compiler: modes that compile may be unsupported"


def _disk(output: Path) -> str:
    from fwprof.environment import disk_free_bytes

    free = disk_free_bytes(output.absolute())
    return f"{figures.NOT_MEASURED if free is None else figures.size(free)} free for {output}"


def _control_ratios() -> str:
    from fwprof.comparison import floor
    from fwprof.environment import machine_facts
    from fwprof.statistics import MIN_FLOOR_VALUES

    stored = len(floor.read(machine_facts().fingerprint, "step_time"))
    known = "enough" if stored >= MIN_FLOOR_VALUES else f"it takes {MIN_FLOOR_VALUES}"
    return f"{stored} of this machine in {floor.floor_path()} ({known} to know the noise floor)"
