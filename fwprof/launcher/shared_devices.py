"""Who else computes on the devices of a session: asked while none of its workers lives.

Not while something is timed: asking starts a process. A meter says it of the passes that are not timed.
"""

from __future__ import annotations

from collections.abc import Sequence

from fwprof import selection
from fwprof.errors import FwprofError
from fwprof.launcher.context import RunContext
from fwprof.launcher.passes import ask_devices
from fwprof.records import CellPlan, Device, Failure, PluginRef, frames


def clear_to_start(context: RunContext, cells: Sequence[CellPlan], session: int) -> Sequence[CellPlan]:
    """Note who is on the devices, and return the cells that may be measured there now.

    With `exclusive`, a cell whose device is in use fails here; the others go on.

    Args:
        context: the run.
        cells: of one group.
        session: which one begins.
    """
    users = _users(context, cells)
    clear = []
    for cell in cells:
        device = users.get(cell.device.name)
        if device is None or not device.in_use_by:
            clear.append(cell)
        elif context.plan.request.exclusive:
            refusal = selection.in_use(device)
            context.refuse(
                cell,
                str(session),
                Failure(
                    fate="unsupported",
                    stage="start",
                    message=f"{refusal.what}: {refusal.cause}",
                    next=refusal.next,
                ),
                session=session,
            )
        else:
            _note(context, cell, session, device)
            clear.append(cell)
    return clear


def note_users(context: RunContext, cells: Sequence[CellPlan], session: int) -> None:
    """Note who is on the devices of cells whose session is over."""
    users = _users(context, cells)
    for cell in cells:
        device = users.get(cell.device.name)
        if device is not None and device.in_use_by:
            _note(context, cell, session, device)


def _note(context: RunContext, cell: CellPlan, session: int, device: Device) -> None:
    journal = context.folder.journal(cell.id, str(session))
    try:
        journal.append(frames.DeviceShared(processes=device.in_use_by or ()))
    finally:
        journal.close()


def _users(context: RunContext, cells: Sequence[CellPlan]) -> dict[str, Device]:
    """Return the devices as they are now, by name, of plugins that tell who computes on them."""
    if not context.is_isolated:  # what computes there is this very process
        return {}
    plugins: dict[str, PluginRef] = {
        cell.device_plugin.name: cell.device_plugin for cell in cells if cell.device.in_use_by is not None
    }
    found: dict[str, Device] = {}
    for plugin in plugins.values():
        try:
            found |= {device.name: device for device in ask_devices(plugin)}
        except FwprofError:  # a card that was lost: its workers will say so
            continue
    return found
