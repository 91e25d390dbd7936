"""Facts of the machine, read from fake /proc and /sys trees and from the real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwprof import environment


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def topology(cpus: dict[int, str], name: str = "core_cpus_list") -> dict[str, str]:
    return {f"sys/devices/system/cpu/cpu{cpu}/topology/{name}": f"{text}\n" for cpu, text in cpus.items()}


def test_smt_siblings_count_as_one_core(tmp_path: Path) -> None:
    plant(tmp_path, topology({0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}))
    assert environment.physical_cores({0, 1, 4, 5}, tmp_path) == 2
    assert environment.physical_cores({0, 4}, tmp_path) == 1


def test_older_kernels_name_siblings_differently(tmp_path: Path) -> None:
    plant(tmp_path, topology({0: "0-1", 1: "0-1"}, "thread_siblings_list"))
    assert environment.physical_cores({0, 1}, tmp_path) == 1


def test_without_a_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert environment.physical_cores({0, 1, 2}, tmp_path) == 3


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, 2.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            },
            1.5,
        ),
        ({"proc/self/cgroup": "0::/not-seen\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/c\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
    ids=["nothing", "unlimited", "v2", "parent", "namespace", "v1", "v1-unlimited"],
)
def test_the_smallest_cgroup_quota_holds(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    assert environment.cpu_quota(plant(tmp_path, files)) == quota


@given(microseconds=st.integers(1, 10_000_000))
def test_a_quota_never_grants_less_than_one_core_nor_more_than_there_are(
    tmp_path_factory: pytest.TempPathFactory, microseconds: int
) -> None:
    root = tmp_path_factory.mktemp("root")
    plant(root, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{microseconds} 100000\n"})
    cores = environment.granted_cores(root)
    assert 1 <= cores <= len(environment.granted_cpus())
    assert cores == 1 or cores <= microseconds / 100_000


def test_affinity_limits_the_cores() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no CPU affinity")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert environment.granted_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_memory_limit_of_the_cgroup_counts_as_the_memory(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1048576\n"})
    assert environment.granted_memory_bytes(tmp_path) == 1048576


def test_no_memory_limit_leaves_the_machine_s_memory(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"})
    without = environment.granted_memory_bytes(tmp_path / "nothing")
    assert environment.granted_memory_bytes(tmp_path) == without
    assert without is not None
    assert without > 2**20


def test_thread_variables_all_say_the_same_number() -> None:
    variables = environment.thread_environment(3)
    assert set(variables.values()) == {"3"}
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"} <= set(variables)


def test_no_threads_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        environment.thread_environment(0)


def test_a_folder_that_does_not_exist_yet_has_its_parent_s_disk(tmp_path: Path) -> None:
    free = environment.disk_free_bytes(tmp_path / "not" / "yet")
    assert free is not None
    assert free > 0


def test_a_path_through_a_file_has_no_known_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert environment.disk_free_bytes(tmp_path / "file" / "below") is None


def test_machine_facts_come_from_the_kernel_s_files(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Fictive 9000\nflags\t\t: fpu hypervisor sse\n",
            "proc/sys/kernel/random/boot_id": "1234\n",
            "sys/class/dmi/id/sys_vendor": "Maker\n",
            **{
                f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": "powersave\n"
                for cpu in environment.granted_cpus()
            },
        },
    )
    facts = environment.machine_facts(tmp_path)
    assert facts.processor == "Fictive 9000"
    assert facts.virtualised == "Maker"
    assert facts.governor == "powersave"
    assert facts.boot_id == "1234"


def test_bare_metal_is_told_from_not_knowing(tmp_path: Path) -> None:
    plant(tmp_path, {"proc/cpuinfo": "flags : fpu sse\n"})
    assert environment.machine_facts(tmp_path).virtualised == "none"
    assert environment.machine_facts(tmp_path / "nothing").virtualised is None


def test_a_machine_without_proc_and_sys_still_has_facts(tmp_path: Path) -> None:
    facts = environment.machine_facts(tmp_path)
    assert facts.boot_id is None
    assert facts.governor is None
    assert facts.cores == facts.logical_cpus
    assert facts.processor


def test_the_fingerprint_tells_processors_apart_and_nothing_else(tmp_path: Path) -> None:
    one = plant(tmp_path / "one", {"proc/cpuinfo": "model name : A\n"})
    same = plant(
        tmp_path / "same", {"proc/cpuinfo": "model name : A\n", "proc/sys/kernel/random/boot_id": "7"}
    )
    other = plant(tmp_path / "other", {"proc/cpuinfo": "model name : B\n"})
    prints = [environment.machine_facts(root).fingerprint for root in (one, same, other)]
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


def test_the_facts_of_this_machine_are_consistent() -> None:
    facts = environment.machine_facts()
    assert 1 <= facts.cores <= facts.logical_cpus
    assert facts.memory_bytes is None or facts.memory_bytes > 2**26
    assert facts == environment.machine_facts()
