"""Run the tests: those that need no framework together, each framework's in a process of its own.

Threads, precision and backend of a framework are set once a process, and its memory never comes
back: no two share one. Arguments go to pytest; where they name a path, it runs once.

    python tools/run_tests.py [--frameworks "torch jax"] [-n 2] [tests/test_api.py]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.requirements import Requirement
from setup_environment import ROOT, frameworks_of, read_plugins

NOTHING_COLLECTED = 5
FAILED = 1


def main() -> int:
    """Run every suite, say the sum, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--frameworks", default="", help="names separated by spaces; empty: all there are")
    options, arguments = parser.parse_known_args()
    if any((ROOT / word.partition("::")[0]).exists() for word in arguments):
        return run_pytest(arguments)
    chosen = set(options.frameworks.split())
    begin = time.monotonic()
    counts: Counter[str] = Counter()
    statuses = [run_suite(arguments, counts)]
    for folder, plugin in read_plugins().items():
        frameworks = frameworks_of(plugin)
        if not frameworks or (chosen and not chosen & set(frameworks)):
            continue
        tests = str(folder.relative_to(ROOT) / "tests")
        if missing := missing_of(plugin):
            # CI installs every framework it was told to test: there, one that is missing is an error.
            statuses.append(FAILED if os.environ.get("CI") else 0)
            counts["skipped"] += 1
            print(f"\n{tests}: skipped: {', '.join(missing)} not installed", flush=True)
        else:
            print(f"\n{tests}", flush=True)
            statuses.append(run_suite([*arguments, tests], counts))
    print(
        f"\nin all: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, "
        f"{len(statuses)} suites in {time.monotonic() - begin:.0f} s"
    )
    return next((status for status in statuses if status not in {0, NOTHING_COLLECTED}), 0)


def run_suite(arguments: list[str], counts: Counter[str]) -> int:
    """Run pytest once and add what it counted; return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        status = run_pytest([*arguments, f"--junitxml={report}"])
        for suite in ElementTree.parse(report).getroot() if report.exists() else ():
            found = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
            failed = found["failures"] + found["errors"]
            counts.update(
                failed=failed, skipped=found["skipped"], passed=found["tests"] - failed - found["skipped"]
            )
    return status


def run_pytest(arguments: list[str]) -> int:
    """Run pytest in a process of its own; return its exit status."""
    # By its own configuration and conftest.py, also where a third-party package brings others.
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def missing_of(plugin: Mapping[str, Any]) -> list[str]:
    """Return which of a plugin and its framework cannot be imported here."""
    project = plugin["project"]
    extras = project.get("optional-dependencies", {})
    needed = [project["name"], *(Requirement(text).name for text in extras.get("framework", ()))]
    return [name for name in needed if find_spec(name.replace("-", "_")) is None]


if __name__ == "__main__":
    sys.exit(main())
