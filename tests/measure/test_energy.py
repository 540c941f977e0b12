"""Energy by counters of the kernel's shape, and the cost of answers."""

from pathlib import Path

import pytest

from hasten.measure import energy as module
from hasten.measure.cost import costs
from hasten.measure.energy import energy

RANGE = 10_000_000  # microjoules


def zone(root: Path, name: str, kind: str, microjoules: int) -> Path:
    made = root / name
    made.mkdir(parents=True)
    (made / "name").write_text(f"{kind}\n")
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return made


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.02)


def test_all_packages_count_and_their_parts_do_not(tmp_path: Path) -> None:
    """One of the counters starts over meanwhile."""
    first, second = (
        zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000),
        zone(tmp_path, "intel-rapl:1", "package-1", 9_500_000),
    )
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 7)  # the same counter again
    made = 0

    def calls() -> int:
        nonlocal made
        made += 1
        (first / "energy_uj").write_text("3000000")
        (second / "energy_uj").write_text("500000")
        return 4

    found = energy(calls, tmp_path)
    assert found["reason"] == ""
    assert found["joules"] == pytest.approx((2.0 + 1.0) / (4 * made))
    assert 0 < found["watts"] <= 3.0 / 0.02


def test_without_counters_there_is_a_sentence(tmp_path: Path) -> None:
    def never() -> int:
        raise AssertionError("nothing is to be called")

    assert "no RAPL" in energy(never, tmp_path)["reason"]
    (zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").unlink()
    assert "cannot be read" in energy(never, tmp_path)["reason"]


def test_a_counter_that_vanishes_is_told(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 1)

    def calls() -> int:
        (package / "energy_uj").unlink(missing_ok=True)
        return 1

    assert "stopped telling" in energy(calls, tmp_path)["reason"]


def test_a_million_answers_at_a_price() -> None:
    row = {"throughput_per_s": 1000.0, "latency_p50_ms": 2.0}
    found = costs(row, 3.6)
    assert found == {"batched": pytest.approx(1.0), "single": pytest.approx(2.0)}
    assert costs(row, None) is None
    assert costs(row, 3.6, samples=8)["single"] == pytest.approx(0.25)
