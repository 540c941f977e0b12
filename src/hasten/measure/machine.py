"""The machine: which processors may be used, and the conditions that every figure is stored with."""

import math
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import hasten

ISA = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "neon", "asimd", "asimdhp", "asimddp", "i8mm",
    "bf16", "sve", "sve2",
)  # fmt: skip
"""Instruction sets that decide how fast a network runs, in the kernel's words."""

PACKAGES = (
    "numpy", "onnx", "onnxruntime", "openvino", "torch", "nncf", "onnxscript", "onnxslim", "accelerate",
    "torch-pruning", "tensorly", "scikit-learn", "skl2onnx",
)  # fmt: skip
_ROOT = Path("/")


def conditions(seed: int) -> dict[str, Any]:
    """What a figure depends on beside the model, as JSON values.

    Args:
        seed: the one that the measurement is made with.

    Returns:
        cpu: model name. isa: instruction sets of `ISA` that it has. cores: on the machine. affinity: the processors
        this process may use. quota: processors' worth of time its control group may use, None: no limit. threads: the
        most that it makes sense to use. ram_gb, os, kernel, python. versions: package -> version, None where absent.
        load: average of the last minute, at this moment. date: UTC, ISO 8601. seed.
    """
    return {
        "cpu": cpu(),
        "isa": isa(),
        "cores": os.cpu_count() or 1,
        "affinity": affinity(),
        "quota": quota(),
        "threads": threads(),
        "ram_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "os": platform.freedesktop_os_release()["PRETTY_NAME"]
        if Path("/etc/os-release").exists()
        else platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
    }


def fingerprint() -> str:
    """Equal for two runs whose timings can be compared: processor, instruction sets, cores in use, quota."""
    return f"{cpu()}; {' '.join(isa())}; {len(affinity())} of {os.cpu_count()} cores, quota {quota()}"


def versions() -> dict[str, str | None]:
    """By package, of hasten and of what it makes files with; None where one is absent."""
    return {"hasten": hasten.__version__} | {name: _version(name) for name in PACKAGES}


def cpu() -> str:
    """The processor's own name; where the kernel has none (Arm), its implementer and part numbers."""
    said = _cpuinfo()
    arm = f"{platform.machine()} implementer {said.get('CPU implementer')} part {said.get('CPU part')}"
    return said.get("model name") or (arm if "CPU part" in said else platform.processor() or platform.machine())


def isa() -> list[str]:
    """Those of `ISA` that this processor has."""
    said = _cpuinfo()
    has = set((said.get("flags") or said.get("Features") or "").split())
    return [name for name in ISA if name in has]


def affinity() -> list[int]:
    """The processors that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def threads() -> int:
    """The most threads that make sense: the processors of this process, or its quota where that is less; at least 1."""
    limit = quota()
    return min(len(affinity()), max(1, math.floor(limit))) if limit else len(affinity())


def cpus(count: int, root: Path = _ROOT) -> list[int]:
    """The processors to pin `count` threads to: whole cores before the second threads of cores, the last ones first.

    The first processors are left free where there are more than are needed: interrupts and this process run there.
    """
    mine = affinity()
    first = {p: min(_siblings(p, root) & set(mine) or {p}) for p in mine}
    order = sorted(mine, key=lambda p: (p != first[p], -p))
    return sorted(order[: max(1, count)])


def quota(root: Path = _ROOT) -> float | None:
    """Processors' worth of time that the control groups of this process allow, the tightest; None without a limit."""
    limits = [limit for folder in _groups(root) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _groups(root: Path) -> Iterable[Path]:
    """The folders of this process's control groups (version 2, then version 1) with those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        top = root / "sys/fs/cgroup"
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = top / "cpu" if controllers else top
        inner = top / path.strip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _limit(folder: Path) -> float | None:
    try:
        allowed, period = (folder / "cpu.max").read_text().split()
    except OSError:
        try:
            allowed = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    return None if allowed.strip() in ("max", "-1") else int(allowed) / int(period)


def _siblings(processor: int, root: Path) -> set[int]:
    """The processors that share a core with this one, itself included."""
    try:
        said = (root / f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list").read_text()
    except OSError:
        return {processor}
    ends = [part.split("-") for part in said.strip().split(",")]
    return {p for pair in ends for p in range(int(pair[0]), int(pair[-1]) + 1)}


def _cpuinfo() -> dict[str, str]:
    """The kernel's record of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
