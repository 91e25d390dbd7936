"""The parent's side: start workers, hand out blocks, keep what they report, end them.

`process` and `in_process` are two links to a worker; `guard` ends workers whose parent died;
`cell` speaks with one worker and keeps its journal; `schedules` decide who measures when;
`passes` run what is not timed; `conformance` checks a plugin; `run` puts a whole run together.
"""

from fwprof.launcher.conformance import check_plugin
from fwprof.launcher.passes import ask_devices, ask_export
from fwprof.launcher.run import run_plan

__all__ = ["ask_devices", "ask_export", "check_plugin", "run_plan"]
