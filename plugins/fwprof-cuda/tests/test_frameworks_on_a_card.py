"""What every framework that is installed does on a real card: README.md lists it as unverified until then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from fwprof.plugin import Device, PluginUnavailableError
from fwprof_cuda import plugin

pytestmark = pytest.mark.cuda

FRAMEWORKS = sorted(
    {found.name.partition(":")[0] for found in entry_points(group="fwprof.frameworks")} - {"reference"}
)
CATEGORIES = ("parameter_memory", "gradient_memory", "optimizer_memory", "activation_memory")


@pytest.fixture(scope="module")
def card() -> Device:
    """Return the first card of this machine."""
    try:
        return plugin.devices()[0]
    except PluginUnavailableError as error:
        pytest.skip(f"needs a CUDA card: {error.what}; {error.cause}")


def profile(card: Device, framework: str, folder: Path, *words: str) -> Mapping[str, Any]:
    """Profile a small workload on a card, and return its one cell."""
    command = [sys.executable, "-m", "fwprof.cli.main", "profile", "mlp-small", "--plugin", framework]
    command += ["--device", card.name, "--quick", "--rounds", "2", "--max-seconds", "1", "--json"]
    command += ["-o", str(folder), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode in (0, 5), done.stderr
    if done.returncode == 5 or json.loads(done.stdout)["cells"][0]["fate"] == "unsupported":
        pytest.skip(f"{framework} here cannot use a card: {done.stderr.strip()}")
    (cell,) = json.loads(done.stdout)["cells"]
    assert cell["fate"] == "ok", done.stderr
    return dict(cell)


def told(cell: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return metrics that have a value or a reason, and fail where one has neither."""
    metrics = {name: cell["metrics"][name] for name in names}
    for name, metric in metrics.items():
        figure = metric.get("value", metric.get("p50"))
        assert (figure is None) == bool(metric.get("reason")), (name, metric)
    return metrics


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_computes_in_what_the_card_can(
    framework: str, precision: str, card: Device, tmp_path: Path
) -> None:
    if card.precisions is not None and precision not in card.precisions:
        pytest.skip(f"{card.title} does not compute in {precision}")
    cell = profile(card, framework, tmp_path, "--precision", precision, "--no-memory")
    assert (cell["precision"], cell["metrics"]["step_time"]["p50"] > 0) == (precision, True)
    assert not [check for check in cell["checks"] if not check["passed"]]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_memory_energy_layers_and_limits_have_values_or_reasons(
    framework: str, card: Device, tmp_path: Path
) -> None:
    cell = profile(card, framework, tmp_path, "--layers")
    told(cell, [*CATEGORIES, "tensor_peak", "energy", "energy_above_rest", "utilisation", "power", "mfu"])
    assert (
        cell["metrics"]["device_process_memory"]["value"]
        or cell["metrics"]["device_process_memory"]["reason"]
    )
    assert cell["metrics"]["parameter_memory"]["value"] > 0
    assert cell["limits"]["best_gemm"]["value"] > 0
    assert cell["layers"]["reason"] or cell["layers"]["rows"][0]["forward"]["p50"] > 0
