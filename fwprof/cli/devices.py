"""`fwprof devices`: what `--device` may name, and what was not found."""

from __future__ import annotations

import click

from fwprof.cli.examples import with_examples
from fwprof.cli.options import json_option
from fwprof.cli.output import print_json, print_list
from fwprof.errors import ExitCode
from fwprof.report import figures


@click.command("devices", help=with_examples("List the devices that are here.", "devices"))
@json_option
def command(as_json: bool) -> int:
    """List devices."""
    from fwprof import api

    devices, unavailable = api.list_devices()
    if as_json:
        absent = [{"kind": kind, "reason": reason} for kind, reason in unavailable.items()]
        print_json([*devices, *absent])
        return ExitCode.DONE
    rows = [
        (
            device.name,
            device.title,
            "–" if device.memory_bytes is None else figures.size(device.memory_bytes),
            device.remark,
        )
        for device in devices
    ]
    print_list(("device", "what", "memory", "note"), rows, "no device plugin is installed")
    for kind, reason in unavailable.items():
        print(f"\nnot here  {kind}: {reason}")
    return ExitCode.DONE
