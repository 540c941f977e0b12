"""How long a worker may take before it hangs, and what a kill of a small job costs."""

from pathlib import Path
from typing import Any

import bundles
import pytest
from test_job import archive, rows

from hasten.child import ChildDied
from hasten.offline import hand, job
from hasten.offline.inputs import Place

VIEWS = 6


class Asked:
    """Stands in for a child, and keeps what it is asked: method, limit in s."""

    calls: list[tuple[str, float]] = []

    def __init__(self, target: str) -> None:
        self.calls.clear()

    def call(self, method: str, timeout_s: float, **_: Any) -> Any:
        self.calls.append((method, timeout_s))
        return VIEWS if method == "open" else {}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("count", "video", "least", "most"), [
    (1, False, 1800, 1800),
    (64, False, 64 * VIEWS * 50, 64 * VIEWS * 100),
    (8192, False, 1800, 64 * VIEWS * 100),
    (1, True, 86400, 86400),
])  # fmt: skip
def test_slow_networks_have_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, video: bool, least: float, most: float
) -> None:
    """As many samples as there are in any part, times views; of more only where they were fast."""
    monkeypatch.setattr(hand, "Child", Asked)
    name = "x.mp4" if video else "x.png"
    with hand.Hand({}, 32) as worker:
        worker.shard([Place(name, name)] * count, tmp_path / "part")
    method, limit_s = Asked.calls[-1]
    assert method == "shard"
    assert least <= limit_s <= most


def test_a_small_job_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles.make(tmp_path / "bundle").close()
    x, out, shard = archive(tmp_path / "x.npz", 200), tmp_path / "out", hand.Hand.shard

    def once(worker: hand.Hand, places: Any, path: Path) -> Any:
        if path.name == "part-000003.jsonl":
            raise ChildDied("a death")
        return shard(worker, places, path)

    with monkeypatch.context() as patch:
        patch.setattr(hand.Hand, "shard", once)
        with pytest.raises(ChildDied):
            job.run(tmp_path / "bundle", [str(x)], out)
    made = {p: p.stat().st_mtime_ns for p in out.glob("part-*")}
    assert len(made) == 3
    assert job.run(tmp_path / "bundle", [str(x)], out, resume=True)["parts"] == 4
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert len(rows(out)) == 200
