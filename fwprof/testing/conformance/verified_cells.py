"""Asks a plugin for the answers of cells that are verified, in a fresh process, as the core does.

What verifies may change a framework's global state, float64 above all: it gets a process of its
own. A plugin given as an object, which no other process can import, is asked in this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fwprof.execution.answers import take_answers
from fwprof.plugin import CellPlan, Description, UnsupportedError
from fwprof.testing.conformance import fresh_process
from fwprof.testing.conformance.cases import load_case, plan_of
from fwprof.testing.conformance.subject import FrameworkSubject
from fwprof.testing.conformance.verdicts import NotApplicable
from fwprof.workloads.answers import Answers, load_answers, save_answers

CASES = ("batch_norm", "image", "sequence")
"""Together they have what frameworks differ in: statistics, flattening, dropout, both losses, both
optimizers, gates and biases of an LSTM."""


@dataclass(frozen=True)
class Verified:
    """What one cell answered, and how it describes itself."""

    answers: Answers
    description: Description


def ask(subject: FrameworkSubject) -> Mapping[str, Verified]:
    """Return case → what was answered, of every case that the plugin supports; asked once.

    Raises:
        NotApplicable: the plugin supports none of them in float64; the message says why.
    """
    folder = subject.folder / "verified"
    if not folder.exists():
        unfinished = subject.folder / "verified.part"
        unfinished.mkdir(exist_ok=True)
        cell = as_verified(subject.cell(load_case("plain"), value=subject.entry_point or ""))
        if subject.entry_point:
            fresh_process.run("answers", cell, unfinished, subject.folder)
        else:
            _ = subject.versions
            answer(subject, cell, unfinished)
        unfinished.rename(folder)
    found = {
        name: Verified(
            load_answers(folder / name),
            msgspec.json.decode((folder / name / "description.json").read_bytes(), type=Description),
        )
        for name in CASES
        if (folder / name).is_dir()
    }
    if not found:
        raise NotApplicable((folder / "refused").read_text(encoding="utf-8"))
    return found


def as_verified(cell: CellPlan) -> CellPlan:
    """Return the cell as one that is verified in float64."""
    return msgspec.structs.replace(cell, precision="float64", is_verification=True)


def answer(subject: FrameworkSubject, cell: CellPlan, folder: Path) -> None:
    """Answer every case into a folder of its name; where the plugin was prepared for the cell."""
    for name in CASES:
        loaded = load_case(name)
        try:
            built = subject.build_prepared(loaded, msgspec.structs.replace(cell, workload=plan_of(loaded)))
        except UnsupportedError as error:
            (folder / "refused").write_text(f"{subject.name} cannot verify: {error}", encoding="utf-8")
            continue
        answers = take_answers(built.model, built.programs, built.staged)
        (folder / name).mkdir(exist_ok=True)
        save_answers(answers, folder / name)
        described = msgspec.json.encode(built.model.describe())
        (folder / name / "description.json").write_bytes(described)
