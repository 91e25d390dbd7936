"""Runs on disk: written as they are measured, assembled into run.json, found again by reference.

A run's folder holds the plan, one journal (JSON lines of reports) a worker, and at the end
run.json, built from the journals alone: what a killed run left behind is read the same way.
Reading a run executes nothing. The package knows no process and prints nothing.
"""

from fwprof.store.finding import StoredRun, find_run, list_runs
from fwprof.store.reading import assemble, load_run
from fwprof.store.resuming import Earlier, Resume, find_earlier, is_matrix
from fwprof.store.writing import Journal, RunFolder, new_run_id, write_durably

__all__ = [
    "Earlier",
    "Journal",
    "Resume",
    "RunFolder",
    "StoredRun",
    "assemble",
    "find_earlier",
    "find_run",
    "is_matrix",
    "list_runs",
    "load_run",
    "new_run_id",
    "write_durably",
]
