"""`fwprof doctor`: what is here, and what is wrong with it."""

from __future__ import annotations

import platform
from pathlib import Path

import click

import fwprof
from fwprof.cli.examples import with_examples
from fwprof.cli.options import output_option
from fwprof.cli.output import print_sections
from fwprof.errors import ExitCode, FwprofError
from fwprof.report import figures
from fwprof.report.layout import Facts

_COMPILERS = ("c++", "g++", "clang++")


@click.command("doctor", help=with_examples("Say what is here, and what is wrong with it.", "doctor"))
@output_option
def command(output: str) -> int:
    """Look at everything a run needs."""
    rows = [("fwprof", f"{fwprof.__version__}, Python {platform.python_version()}, {platform.platform()}")]
    rows.append(("machine", _machine()))
    rows += _named("plugin", _plugins())
    devices, is_broken = _devices()
    rows += _named("device", devices)
    rows.append(("compiler", _compiler()))
    rows.append(("disk", _disk(Path(output))))
    rows.append(("A/A ratios", _control_ratios()))
    rows.append(("result", "something installed is broken, see above" if is_broken else "fit to run"))
    print_sections([Facts(tuple(rows))])
    return ExitCode.NOT_AVAILABLE if is_broken else ExitCode.DONE


def _named(name: str, texts: list[str]) -> list[tuple[str, str]]:
    return [(name if place == 0 else "", text) for place, text in enumerate(texts)]


def _machine() -> str:
    from fwprof.environment import machine_facts

    facts = machine_facts()
    memory = "" if facts.memory_bytes is None else f", {figures.size(facts.memory_bytes)} of memory"
    guest = f", virtualised ({facts.virtualised})" if facts.virtualised else ""
    governor = f", frequency governor {facts.governor}" if facts.governor else ""
    return f"{facts.processor}, {figures.plural(facts.cores, 'core')} granted{memory}{guest}{governor}"


def _plugins() -> list[str]:
    from fwprof import api

    found = api.list_plugins()
    said = [
        f"{one.ref.kind} {one.ref.name}: {one.state} ({one.ref.distribution} {one.ref.version})"
        + (f": {one.reason}" if one.reason else "")
        for one in found
    ]
    if not any(one.ref.kind == "framework" for one in found):
        said.append("no framework plugin is installed: pip install 'fwprof-<framework>[framework]'")
    return said


def _devices() -> tuple[list[str], bool]:
    from fwprof import api

    try:
        devices, unavailable = api.list_devices()
    except FwprofError as error:
        return [f"broken: {error.what}. {error.cause}".strip()], True
    said = [
        f"{device.name}: {device.title}" + (f" ({device.note})" if device.note else "") for device in devices
    ]
    said += [f"{name}: not here: {reason}" for name, reason in unavailable.items()]
    return said or ["none"], not devices


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

    stored = len(floor.read(machine_facts().fingerprint, "step_time"))
    known = (
        "the noise floor is known"
        if stored >= _ENOUGH_RATIOS
        else f"from {_ENOUGH_RATIOS} on the noise floor is known"
    )
    return f"{stored} of this machine in {floor.floor_path()} ({known})"


_ENOUGH_RATIOS = 20
