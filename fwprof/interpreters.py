"""Other environments: the interpreter each is entered by, and what it says is installed there.

Owns the question, asked in a child process, and what may go wrong with it. Imports no plugin.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Timer

import msgspec

import fwprof
from fwprof.catalog import Environment, InstalledPlugin
from fwprof.errors import PluginUnavailableError, RequestError
from fwprof.records import Record

ANSWER_SECONDS = 60.0
"""How long an interpreter may take to answer: a cold disk, and many packages."""

_OWN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONEXECUTABLE", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables that say where this interpreter finds its modules."""

_QUESTION = """
import json, os, sys
answer = {"python": sys.version.split()[0]}
try:
    import fwprof
    answer["version"] = fwprof.__version__
    if fwprof.__version__ == sys.argv[2]:
        from fwprof import catalog, codec
        answer["plugins"] = json.loads(codec.encode(catalog.list_plugins()))
except Exception as error:  # whatever a stranger's environment raises is its answer
    answer["reason"] = type(error).__name__ + ": " + str(error)
with os.fdopen(int(sys.argv[1]), "w") as pipe:
    json.dump(answer, pipe)
"""
"""Runs under whatever interpreter it is given to, so in words that any Python 3 knows."""


class _Answer(Record, frozen=True, kw_only=True):
    python: str
    version: str | None = None
    plugins: tuple[InstalledPlugin, ...] = ()
    reason: str = ""


def inherited_variables(interpreter: str | None) -> Mapping[str, str]:
    """Return the variables of this process that a worker inherits.

    Args:
        interpreter: of another environment, which must not find the modules of this one; None: this
            process's own.
    """
    if interpreter is None:
        return os.environ
    return {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}


def ask(name: str, interpreter: str) -> Environment:
    """Ask an interpreter what is installed for it.

    Args:
        name: of the environment.
        interpreter: a path, or a command on the PATH.

    Raises:
        RequestError: it is not there, or no Python interpreter.
        PluginUnavailableError: this version of fwprof is not installed there.
    """
    path = _find(name, interpreter)
    answer = _ask(name, path)
    pip = f"{path} -m pip install 'fwprof=={fwprof.__version__}' and the plugins"
    if answer.version is None:
        raise PluginUnavailableError(
            f"environment {name!r} has no fwprof",
            cause=f"Python {answer.python} there says {answer.reason}",
            next=pip,
        )
    if answer.version != fwprof.__version__:
        raise PluginUnavailableError(
            f"environment {name!r} has another fwprof",
            cause=f"{answer.version} is there, {fwprof.__version__} is here",
            next=pip,
        )
    if answer.reason:
        raise PluginUnavailableError(
            f"fwprof in environment {name!r} cannot say what is installed", cause=answer.reason, next=pip
        )
    return Environment(name=name, interpreter=path, plugins=answer.plugins)


def _find(name: str, interpreter: str) -> str:
    path = Path(interpreter).expanduser()
    # A link is not followed: that of a virtual environment says which one it is.
    found = (shutil.which(interpreter) if path.name == interpreter else None) or str(path.absolute())
    if not Path(found).exists():
        raise RequestError(
            f"there is no interpreter {interpreter}",
            cause=f"--python {name}=… names it",
            next="write the path of a python, e.g. .venv-other/bin/python",
        )
    if Path(found).is_dir() or not os.access(found, os.X_OK):
        inside = Path(found) / "bin" / "python"
        raise RequestError(
            f"{interpreter} cannot be run",
            cause="it is a folder" if Path(found).is_dir() else "it is not executable",
            next=f"--python {name}={inside}" if inside.exists() else "write the path of a python",
        )
    return found


def _ask(name: str, path: str) -> _Answer:
    ours, theirs = os.pipe()
    try:
        process = subprocess.Popen(
            [path, "-c", _QUESTION, str(theirs), fwprof.__version__],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs],
            # A file in the current folder must not shadow a module there either.
            env={**inherited_variables(path), "PYTHONSAFEPATH": "1"},
        )
    except OSError as error:
        os.close(ours)
        raise _no_python(name, path, error.strerror or str(error)) from error
    finally:
        os.close(theirs)
    timer = Timer(ANSWER_SECONDS, process.kill)
    timer.start()
    try:
        with os.fdopen(ours, "rb") as pipe:
            data = pipe.read()
        process.wait()
    finally:
        timer.cancel()
    try:
        return msgspec.json.decode(data, type=_Answer)
    except msgspec.MsgspecError as error:
        status = process.returncode
        cause = f"it ended with status {status} and no answer" if status >= 0 else "it was ended"
        raise _no_python(name, path, cause) from error


def _no_python(name: str, path: str, cause: str) -> RequestError:
    return RequestError(
        f"{path} is no Python interpreter",
        cause=cause,
        next=f"--python {name}={sys.executable} is the one that runs this",
    )
