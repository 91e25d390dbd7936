"""What goes wrong in the cases: broken plugins, factories and files. Knows nothing of the table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fwprof.testing.data_files import idx_bytes, write_mnist
from fwprof.testing.installed import FAKES, FakeDistribution

PRINTED_BYTES = 200_000_000
FACTORIES = f"""
import os
import subprocess
import sys

from fwprof.testing.native_network import make


def raises():
    raise ValueError("no such dataset")


def raises_a_page():
    raise ValueError("\\n".join(f"line {{number}} " + "of a long story " * 20 for number in range(200)))


def returns_a_list():
    return [make()]


def forgets_batches():
    return {{"model": make()["model"]}}


def returns_text():
    return {{**make(), "model": "a network"}}


def prints():
    line = b"loading shard 17 of 4096\\n" * 40_000
    for _ in range({PRINTED_BYTES} // len(line)):
        os.write(1, line)
    return make()


def leaves():
    os._exit(0)


def exits():
    sys.exit()


def asks_for_too_much():
    import numpy

    return {{"model": [numpy.ones((2**23, 2**23))], "batches": []}}


def scribbles():
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\\xff" * 64)
        except OSError:
            pass
    return make()


def has_daemon():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    child.returncode = 0
    return make()


def has_child():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    child.returncode = 0
    return make()
"""

HALF = """
from fwprof.plugin import hookimpl


@hookimpl
def build_model(workload, device, options):
    return None
"""
EMPTY = """
from fwprof.plugin import hookimpl


@hookimpl
def build_model(workload, device, options):
    return None


@hookimpl
def train_step(model):
    return None
"""
MIXED = f"""
{EMPTY}

@hookimpl
def export(result, destination):
    return []
"""
DEADLY = """
import ctypes

from fwprof.plugin import hookimpl


@hookimpl
def devices():
    ctypes.string_at(0)
"""
LOSING = """
from fwprof.plugin import hookimpl


@hookimpl
def export(result, destination):
    raise OSError("the printer is on fire")
"""
POOR = """
from fwprof.errors import UnsupportedError
from fwprof.plugin import hookimpl
from fwprof.testing.fake_framework import FakeFramework


class Poor(FakeFramework):
    @hookimpl
    def build_model(self, workload, device, options):
        raise UnsupportedError("the poor framework has no layer 'dense'")


plugin = Poor()
"""
MISSING_IMPORT = "import nowhere_to_be_found\n"

DISTRIBUTIONS = (
    FAKES,
    FakeDistribution(
        name="fwprof-broken",
        entry_points={
            "fwprof.frameworks": {
                "unimportable": "broken_import",
                "leaver": "broken_leaver",
                "half": "broken_half",
                "mixed": "broken_mixed",
                "empty": "broken_empty",
                "twin": "broken_half",
                "poor": "broken_poor:plugin",
            },
            "fwprof.devices": {"lostcard": "broken_import", "deadcard": "broken_card"},
            "fwprof.exporters": {"lostlines": "broken_exporter"},
        },
        modules={
            "broken_import": MISSING_IMPORT,
            "broken_leaver": "raise SystemExit(3)\n",
            "broken_half": HALF,
            "broken_mixed": MIXED,
            "broken_empty": EMPTY,
            "broken_poor": POOR,
            "broken_card": DEADLY,
            "broken_exporter": LOSING,
        },
    ),
    FakeDistribution(name="fwprof-other-twin", entry_points={"fwprof.frameworks": {"twin": "broken_half"}}),
    FakeDistribution(
        name="fwprof-needy",
        entry_points={"fwprof.frameworks": {"needy": "broken_half"}},
        extras={"framework": ("nowhere-to-be-found>=1",)},
    ),
)

WORKLOAD = "name: mine\nlayers:\n  - dense: {units: 4}\n"
WITH_WEIGHTS = """\
name: mine
input: {{shape: [4]}}
layers: [{{kind: dense, units: 3}}]
classes: 3
optimizer: {{kind: sgd, learning_rate: 0.1}}
weights: {file}
"""
NONSENSE_BYTES = 10_000_000
FILES = {
    "net.py": FACTORIES,
    "broken.py": "def make(:\n",
    "wrong_type.yaml": "name: mine\ninput:\n  shape: [4]\nclasses: three\nlayers:\n  - dense: {units: 3}\n",
    "unknown_key.yaml": "name: mine\ninput:\n  shape: [4]\nclases: 3\nlayers:\n  - dense: {units: 3}\n",
    "words.yaml": "workloads: [mlp-small,\n  lenett]\nplugins: [fake fake]\n",
    "no_list.yaml": "workloads: mlp\nplugins: [fake]\n",
    "same_name.yaml": (
        "name: mlp\ninput: {shape: [4]}\nlayers: [{kind: dense, units: 2}]\nclasses: 2\n"
        "optimizer: {kind: sgd, learning_rate: 0.1}\n"
    ),
    "config.yaml": "workloads: [mlp-small]\nplugin: [fake]\n",
    "bomb.yaml": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "turned_weights.yaml": WITH_WEIGHTS.format(file="turned.npz"),
    "damaged_weights.yaml": WITH_WEIGHTS.format(file="net.py"),
    "object.yaml": "name: !!python/object/apply:os.system ['echo no']\n",
    "there.csv": "mine\n",
}


def write_files(folder: Path) -> None:
    """Write every file that a case names into a folder."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    with (folder / "turned.npz").open("wb") as file:
        np.savez(file, **{"0.kernel": np.ones((3, 4)), "0.bias": np.ones(3)})
    os.truncate(write_mnist(folder / "cut_off_mnist") / "train-images-idx3-ubyte", 5000)
    labels = np.full(40, 11, np.uint8)
    (write_mnist(folder / "odd_mnist") / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def write_nonsense(folder: Path) -> None:
    """Write ten megabytes that are no YAML."""
    (folder / "nonsense.yaml").write_bytes(b"\x00\xfe{[:%@` nonsense " * (NONSENSE_BYTES // 18))
