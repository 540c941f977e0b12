"""Conditions, pinning and quotas, on this machine and on made-up ones."""

import json
import os
from pathlib import Path

import pytest

from hasten.measure import machine


def test_conditions_are_whole_and_fit_into_json():
    said = json.loads(json.dumps(machine.conditions(seed=7)))
    assert set(said) == {
        "cpu", "isa", "cores", "affinity", "quota", "threads", "ram_gb", "os", "kernel", "python", "versions", "load",
        "date", "seed",
    }  # fmt: skip
    assert said["seed"] == 7
    assert said["cpu"]
    assert said["ram_gb"] > 0.1
    assert said["date"].endswith("+00:00")
    assert said["versions"]["numpy"]
    assert set(said["affinity"]) == os.sched_getaffinity(0)


def test_a_package_that_is_absent_has_no_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package"))
    assert machine.conditions(0)["versions"]["no-such-package"] is None


@pytest.mark.parametrize(
    ("text", "name", "isa"),
    [
        ("processor\t: 0\nmodel name\t: Big CPU\nflags\t\t: fpu avx2 avx512f amx_int8\n\nprocessor\t: 1\n", "Big CPU",
         ["avx2", "avx512f", "amx_int8"]),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
         "implementer 0x41 part 0xd0c", ["asimd", "asimddp", "i8mm"]),
    ],
    ids=["x86", "arm"],
)  # fmt: skip
def test_the_processor_is_read(text: str, name: str, isa: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.Path, "read_text", lambda self: text)
    assert machine.cpu().endswith(name)
    assert machine.isa() == isa


def groups(root: Path, lines: str, files: dict[str, str]) -> Path:
    """A made-up /proc and /sys."""
    for name, text in {"proc/self/cgroup": lines, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/cpu.max": "400000 100000", "sys/fs/cgroup/a/cpu.max": "200000 100000"}, 2.0),
        ("4:cpu,cpuacct:/x\n", {"sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000\n",
                                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"}, 0.5),
        ("4:cpu:/\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "1"}, None),
        ("9:memory:/x\n", {"sys/fs/cgroup/cpu.max": "100000 100000"}, None),
    ],
    ids=["no limit", "half a core more", "the tightest above", "version 1", "version 1, no limit", "not of cpus"],
)  # fmt: skip
def test_quota(lines: str, files: dict, expected: float | None, tmp_path: Path):
    assert machine.quota(groups(tmp_path, lines, files)) == expected


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path):
    assert machine.quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (2.9, 2), (0.4, 1), (64.0, 4)])
def test_threads_keep_within_the_quota(quota: float | None, expected: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "affinity", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(machine, "quota", lambda: quota)
    assert machine.threads() == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [5]), (2, [4, 5]), (3, [4, 5, 9]), (4, [4, 5, 8, 9]), (9, [4, 5, 8, 9])]
)
def test_pinning_takes_whole_cores_first(count: int, expected: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two cores of two threads each: 4 with 8, 5 with 9."""
    monkeypatch.setattr(machine, "affinity", lambda: [4, 5, 8, 9])
    for processor, shared in {4: "4,8", 8: "4,8", 5: "5,9", 9: "5,9"}.items():
        groups(tmp_path, "", {f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list": f"{shared}\n"})
    assert machine.cpus(count, tmp_path) == expected


def test_siblings_may_be_a_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "affinity", lambda: [0, 1])
    for processor in (0, 1):
        groups(tmp_path, "", {f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list": "0-1\n"})
    assert machine.cpus(1, tmp_path) == [0]


def test_a_fingerprint_tells_machines_apart(monkeypatch: pytest.MonkeyPatch):
    before = machine.fingerprint()
    assert before == machine.fingerprint()
    monkeypatch.setattr(machine, "quota", lambda: 0.5)
    assert machine.fingerprint() != before
