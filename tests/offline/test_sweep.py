"""How a job uses the machine is measured whatever its samples and its network are like."""

from pathlib import Path
from typing import Any

import bundles
import dying
import pytest
from test_job import archive, errors

from hasten.offline import hand, job, sweep


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    bundles.make(tmp_path / "bundle").close()
    return tmp_path / "bundle"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is remembered goes here."""
    monkeypatch.setattr(sweep, "RATE_S", 0.02)
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jobs.json"


def opened(bundle: Path) -> dict[str, Any]:
    return {"bundle": str(bundle), "form": "jsonl", "prepared": False, "tensors": False}


def swept(bundle: Path, x: Path) -> dict[str, Any]:
    return sweep.best_way("a seal", opened(bundle), [(str(i), str(x), i) for i in range(128)])


def test_a_way_is_remembered(bundle: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = archive(tmp_path / "x.npz", 128)
    found = swept(bundle, x)
    assert found["per_s"] > 0
    monkeypatch.setattr(hand, "WORKER", "dying:None")
    assert swept(bundle, x) == found


@pytest.mark.parametrize(("row", "batch"), [(0, 1), (472, 32)])
def test_a_sample_of_which_workers_die(
    bundle: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, row: int, batch: int
) -> None:
    """The first of the 128 that are swept, and the 101st: batches end before it, and another job looks for itself."""
    monkeypatch.setattr(hand, "WORKER", "dying:Dying")
    x = archive(tmp_path / "x.npz", **{f"r{row}": dying.DEADLY})
    result = job.run(bundle, [str(x)], tmp_path / "out")
    assert result["rows"] == 599
    assert set(errors(tmp_path / "out")) == {f"{x}#{row}"}
    assert result["plan"]["batch"] <= batch
    assert not cache.exists()


def test_a_slow_network(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose largest batches take longer than a worker may: they are not tried."""
    monkeypatch.setattr(hand, "WORKER", "dying:Slow")
    monkeypatch.setattr(sweep, "LONG_S", 10 * dying.Slow.SAMPLE_S)
    monkeypatch.setattr(sweep, "_LIMIT_S", 128 * dying.Slow.SAMPLE_S * 2.5)
    found = swept(bundle, archive(tmp_path / "x.npz", 128))
    assert found["batch"] in (1, 8)
    assert found["per_s"] > 0
