"""What is raised in a worker, as a stored failure: its fate, and whose code it was."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from fwprof.errors import FwprofError, PluginUnavailableError, UnsupportedError
from fwprof.execution.session import InvalidResultError
from fwprof.records import Failure, Fate, PluginRef, StageName

if TYPE_CHECKING:
    import pluggy

MESSAGE_LENGTH = 300
"""Of a failure's message, in one line; the traceback has all of it."""


def failure_of(
    error: BaseException, stage: StageName, plugin: PluginRef | None, manager: pluggy.PluginManager | None
) -> Failure:
    """Return what is stored of an error.

    Args:
        error: a framework's, a plugin's or the user's.
        stage: in which it was raised.
        plugin: that is blamed.
        manager: of the plugins that may know the error as a lack of memory; None: none is loaded yet.
    """
    fate: Fate = "failed"
    message, next_step = f"{type(error).__name__}: {error}", ""
    if isinstance(error, FwprofError):
        message = f"{error.what}: {error.cause}" if error.cause else error.what
        next_step = error.next
    if isinstance(error, UnsupportedError | PluginUnavailableError):
        fate = "unsupported"
    elif isinstance(error, InvalidResultError):
        fate = "invalid"
    elif isinstance(error, MemoryError) or _ran_out_of_memory(error, manager):
        fate = "out_of_memory"
    elif isinstance(error, SystemExit):
        message = f"the code asked to exit with status {error.code}"
    return Failure(
        fate=fate,
        stage=stage,
        plugin=f"{plugin.distribution} {plugin.version}" if plugin else "",
        message=" ".join(message.split())[:MESSAGE_LENGTH],
        next=next_step,
        traceback="".join(traceback.format_exception(error))[-20_000:],
    )


def _ran_out_of_memory(error: BaseException, manager: pluggy.PluginManager | None) -> bool:
    if manager is None:
        return False
    try:
        return bool(manager.hook.is_out_of_memory(error=error))
    except Exception:  # noqa: BLE001 - the plugin's own code, while a failure is reported
        return False
