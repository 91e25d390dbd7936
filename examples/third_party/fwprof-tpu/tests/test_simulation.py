"""jax trains on a simulated chip, and everything says that it is one; without a line of the core for it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

FORCED = "--xla_force_host_platform_device_count=2"


@pytest.mark.skipif(find_spec("fwprof_jax") is None, reason="needs fwprof-jax")
def test_a_cell_trains_on_the_second_simulated_chip(tmp_path):
    command = [
        sys.executable,
        "-m",
        "fwprof.cli.main",
        "profile",
        "mlp-small",
        "--plugin",
        "jax",
        "--device",
        "tpu:1",
    ]
    done = subprocess.run(
        [*command, "--quick", "--rounds", "2", "--json", "-o", str(tmp_path)],
        env={**os.environ, "XLA_FLAGS": FORCED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["device"] == "tpu:1"
    (run,) = tmp_path.iterdir()
    stored = json.loads((run / "run.json").read_text())
    (found,) = stored["cells"]
    assert found["description"]["native_device"] == "cpu:1"
    reading = found["readings"]["device_process_memory"]
    assert reading.get("value") is None
    assert "simulated" in reading["reason"]
    (planned,) = stored["plan"]["groups"][0]["cells"]
    assert planned["device"]["note"].startswith("a simulation")
