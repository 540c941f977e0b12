"""Energy that the processors take, by their own counters (RAPL), where the machine shows them.

The counters are those of whole packages: everything else that runs is in them, so nothing else should. See
https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ZONES = Path("/sys/class/powercap")
SECONDS = 1.0  # for which calls are made; the counters tick about a thousand times in it


def energy(calls: Callable[[], int], zones: Path = _ZONES) -> dict[str, Any]:
    """What an answer takes.

    Args:
        calls: makes some calls, and says how many samples they answered.

    Returns:
        reason: why there is no figure; or empty, and joules: for one sample, watts: of all packages meanwhile.
    """
    packages = _packages(zones)
    if not packages:
        return {"reason": "energy: this machine does not show what its processors take (no RAPL)"}
    before = [_joules(zone) for zone in packages]
    if None in before:
        return {"reason": f"energy: {packages[0]}/energy_uj cannot be read; the administrator can allow it"}
    began, samples = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < SECONDS:
        samples += calls()
    spent = [_since(zone, old or 0.0) for zone, old in zip(packages, before, strict=True)]
    if not samples or None in spent:
        return {"reason": f"energy: {packages[0]}/energy_uj stopped telling"}
    joules = sum(s or 0.0 for s in spent)
    return {"reason": "", "joules": joules / samples, "watts": joules / passed}


def _packages(zones: Path) -> list[Path]:
    """The zone of each package, once: some processors show the same counter by a second way (mmio)."""
    found: dict[str, Path] = {}
    for zone in (*sorted(zones.glob("intel-rapl:*")), *sorted(zones.glob("*:*"))):
        if (name := _text(zone / "name")).startswith("package"):
            found.setdefault(name, zone)
    return list(found.values())


def _since(zone: Path, old: float) -> float | None:
    """Joules since `old`; the counter starts over at its range."""
    now = _joules(zone)
    if now is None:
        return None
    return now - old if now >= old else now - old + float(_text(zone / "max_energy_range_uj") or 0) / 1e6


def _joules(zone: Path) -> float | None:
    said = _text(zone / "energy_uj")
    return int(said) / 1e6 if said.isdigit() else None


def _text(path: Path) -> str:
    """Empty where it cannot be read: since 2020 kernels keep the counters for root."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
