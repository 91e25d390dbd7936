"""Make or refresh `.venv`: fwprof and its plugins editable, the chosen frameworks, the tools.

Standard library only. Does nothing when nothing changed since the last time. Uses `uv pip` where
uv is present, plain `pip` otherwise.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OURS, EXAMPLES = "plugins/*/pyproject.toml", "examples/third_party/*/pyproject.toml"
PLUGINS = (OURS, EXAMPLES)
STAMP = VENV / "fwprof-setup.json"
CONSTRAINTS = ROOT / "constraints.txt"
BACKENDS = {"keras": ("tensorflow", "torch", "jax")}
"""A framework that computes with others. Where none of these is chosen, it gets the first: its own
package depends on none, so that a user's choice stays one."""


def main() -> int:
    """Set up what was asked for; return the exit status."""
    arguments = parse_arguments()
    plugins = read_plugins()
    known = {name for plugin in plugins.values() for name in frameworks_of(plugin)}
    frameworks = set(arguments.frameworks.split()) or known
    if unknown := frameworks - known:
        return complain(f"no plugin for {', '.join(sorted(unknown))}; there is {', '.join(sorted(known))}")
    frameworks |= {
        backends[0]
        for name, backends in BACKENDS.items()
        if name in frameworks and not frameworks & {*backends}
    }

    before = read_stamp()
    wanted = {
        "digest": digest_of_inputs(),
        "frameworks": sorted(frameworks | set(before["frameworks"])),
        "development": arguments.development or before["development"],
        "torch_index": arguments.torch_index or before["torch_index"],
    }
    if wanted == before:
        return 0
    try:
        make_venv()
        STAMP.unlink(missing_ok=True)  # an interrupted set-up starts again
        install = [*choose_installer(), "--constraint", str(CONSTRAINTS)]
        if wanted["torch_index"] != before["torch_index"]:  # another build of the same version
            run([*install, "--index-url", wanted["torch_index"], "--force-reinstall", "torch"])
        run([*install, *requirements(plugins, wanted)])
    except subprocess.CalledProcessError as error:
        return complain(f"set-up stopped: {' '.join(error.cmd[:5])} … exited with {error.returncode}")
    STAMP.write_text(json.dumps(wanted), encoding="utf-8")
    print(f"set up .venv with {', '.join(sorted(wanted['frameworks']))}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frameworks", default="", help="names separated by spaces; empty: all there are")
    parser.add_argument("--development", action="store_true", help="also what the tests and checks need")
    parser.add_argument("--torch-index", default="", help="package index to take torch from")
    return parser.parse_args()


def read_plugins() -> dict[Path, dict[str, Any]]:
    """Return folder → pyproject of every plugin in the repository, the third-party example too."""
    return {
        file.parent: tomllib.loads(file.read_text(encoding="utf-8"))
        for pattern in PLUGINS
        for file in sorted(ROOT.glob(pattern))
    }


def frameworks_of(plugin: dict[str, Any]) -> list[str]:
    """Return the frameworks that a plugin's pyproject declares."""
    return list(plugin["project"].get("entry-points", {}).get("fwprof.frameworks", {}))


def requirements(plugins: dict[Path, dict[str, Any]], wanted: dict[str, Any]) -> list[str]:
    """Return what to install, in one command, so that first-party names meet no index."""
    found = ["--editable", f"{ROOT}[data]"]
    for folder, plugin in plugins.items():
        frameworks = frameworks_of(plugin)
        if not frameworks:
            # Somebody else's hardware and meters are examples: a user who did not ask sees none of them.
            if wanted["development"] or not folder.match(str(Path(EXAMPLES).parent)):
                found += ["--editable", str(folder)]
        elif set(frameworks) & set(wanted["frameworks"]):
            found += ["--editable", f"{folder}[framework]"]
    if wanted["development"]:
        core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        found += core["dependency-groups"]["dev"]
    return found


def digest_of_inputs() -> str:
    """Return a hash of the interpreter and of every file that says what to install."""
    content = hashlib.sha256(f"{sys.version} {VENV}".encode())
    for file in (
        Path(__file__),
        CONSTRAINTS,
        ROOT / "pyproject.toml",
        *(folder / "pyproject.toml" for folder in read_plugins()),
    ):
        content.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return content.hexdigest()


def read_stamp() -> dict[str, Any]:
    """Return what the last set-up installed; empty where there was none."""
    nothing: dict[str, Any] = {"digest": "", "frameworks": [], "development": False, "torch_index": ""}
    if not (STAMP.exists() and PYTHON.exists()):
        return nothing
    try:
        found: dict[str, Any] = json.loads(STAMP.read_text(encoding="utf-8"))
    except ValueError:
        return nothing
    return nothing | found


def make_venv() -> None:
    """Create `.venv`, or create it anew where it holds another Python or none that runs."""
    if PYTHON.exists():
        ask = [str(PYTHON), "-c", "import sys; print(sys.version)"]
        found = subprocess.run(ask, capture_output=True, text=True, check=False)
        if found.stdout.strip() == sys.version:
            return
    run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def choose_installer() -> list[str]:
    """Return the beginning of the install command."""
    if uv := shutil.which("uv"):
        for name, value in uv_settings().items():
            os.environ.setdefault(name, value)
        return [uv, "pip", "install", "--python", str(PYTHON)]
    return [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]


def uv_settings() -> dict[str, str]:
    """Return pip's own configuration in uv's words.

    uv reads none of it. Without pip's find-links and indexes it would take another build of torch
    than pip does, from a place that this machine was not set up to use.
    """
    said = subprocess.run(
        [str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    configured: dict[str, str] = {}
    for line in sorted(said.splitlines(), key=lambda line: line.startswith(":env:")):  # which wins
        key, _, value = line.partition("=")
        configured[key.rpartition(".")[2]] = ast.literal_eval(value)
    words = {
        "UV_FIND_LINKS": ",".join(configured.get("find-links", "").split()),
        "UV_DEFAULT_INDEX": configured.get("index-url", ""),
        "UV_INDEX": configured.get("extra-index-url", ""),
        "UV_CONSTRAINT": configured.get("constraint", ""),
        "SSL_CERT_FILE": configured.get("cert", ""),
    }
    return {name: value for name, value in words.items() if value}


def run(command: list[str]) -> None:
    """Run one command and show it."""
    print("+", " ".join(command).replace(f"{ROOT}/", ""), flush=True)
    subprocess.run(command, check=True, cwd=ROOT)


def complain(message: str) -> int:
    """Say one line of error; return the exit status of a usage error."""
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
