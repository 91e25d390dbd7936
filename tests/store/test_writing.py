"""What a run writes while it is measured survives whatever ends it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof.errors import StoreError
from fwprof.records import MachineFacts, RunPlan, frames
from fwprof.store import Journal, RunFolder, load_run, new_run_id, write_durably
from fwprof.store.layout import MeasuredLimits
from fwprof.testing.samples import sample_result

RESULT = sample_result(2)


@given(st.lists(st.integers(0, 2**40), max_size=5, unique=True))
def test_run_ids_sort_by_time(times_ms: list[int]) -> None:
    made = {time: new_run_id((time + 0.5) / 1000) for time in times_ms}
    assert [made[time] for time in sorted(times_ms)] == sorted(made.values())
    assert {len(id_) for id_ in made.values()} <= {26}


def test_two_ids_of_one_moment_differ() -> None:
    assert new_run_id(1.0) != new_run_id(1.0)
    assert new_run_id(1.0)[:10] == new_run_id(1.0)[:10] == "00000000Z8"


def test_a_run_begins_with_its_plan_on_disk(tmp_path: Path) -> None:
    folder = RunFolder.create(in_(tmp_path), RESULT.machine)
    names = sorted(path.name for path in folder.path.iterdir())
    assert names == ["cells", "lock", "machine.json", "plan.json"]
    assert load_run(folder.path).plan == folder.plan


def in_(output: Path) -> RunPlan:
    request = msgspec.structs.replace(RESULT.plan.request, output=str(output))
    return msgspec.structs.replace(RESULT.plan, request=request)


def test_an_output_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*file.01SAMPLE") as caught:
        RunFolder.create(in_(tmp_path / "file"), RESULT.machine)
    assert caught.value.cause == "Not a directory"
    assert "-o DIR" in caught.value.next


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    RunFolder.create(in_(tmp_path), RESULT.machine)
    with pytest.raises(StoreError, match="cannot write") as caught:
        RunFolder.create(in_(tmp_path), RESULT.machine)
    assert caught.value.cause == "File exists"


def test_a_report_is_on_disk_as_soon_as_it_is_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "cell" / "0.jsonl")
    journal.append(frames.Entered(stage="build"))
    assert journal.path.read_bytes() == b'{"type":"entered","stage":"build"}\n'
    journal.close()


def test_a_journal_is_continued_by_the_next_worker_of_its_name(tmp_path: Path) -> None:
    for stage in ("build", "check"):
        journal = Journal(tmp_path / "0.jsonl")
        journal.append(frames.Entered(stage=stage))  # type: ignore[arg-type]  # two of the stages
        journal.close()
    assert len((tmp_path / "0.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_says_what_was_kept(tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").symlink_to("/dev/full")
    journal = Journal(tmp_path / "0.jsonl")
    with pytest.raises(StoreError, match=r"cannot write .*0\.jsonl") as caught:
        journal.append(frames.Finished())
    journal.close()
    assert (caught.value.cause, caught.value.kept) == ("No space left on device", "0 reports in 0.jsonl")


def test_what_is_finished_carries_its_checksum(tmp_path: Path) -> None:
    folder = RunFolder.create(in_(tmp_path), RESULT.machine)
    folder.add_limits(MeasuredLimits(key="cpu/1/float32", readings={}))
    result = folder.finish(is_interrupted=False)
    data = (folder.path / "run.json").read_bytes()
    assert (folder.path / "run.json.sha256").read_text() == f"{hashlib.sha256(data).hexdigest()}  run.json\n"
    assert result.limits == {"cpu/1/float32": {}}
    assert load_run(folder.path) == result
    assert result.duration_ns > 0


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    program = (
        "import os, sys; from pathlib import Path; from fwprof.store import write_durably;"
        "os.fsync = lambda _: os._exit(9);"
        "write_durably(Path(sys.argv[1]), b'x' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert done.returncode == 9
    assert not target.exists()
    write_durably(target, b"whole")
    assert target.read_bytes() == b"whole"


def test_a_write_that_fails_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*run\.json"):
        write_durably(tmp_path / "run.json", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_the_machine_is_stored_beside_the_plan(tmp_path: Path) -> None:
    machine = MachineFacts(
        system="Linux",
        kernel="6",
        machine="x",
        python="3",
        processor="p",
        cores=1,
        logical_cpus=1,
        fingerprint="f",
    )
    assert load_run(RunFolder.create(in_(tmp_path), machine).path).machine == machine
