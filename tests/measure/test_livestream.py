"""Live streams: what is late is late, what is dropped counts, and the most streams are those that are held."""

import json
import time
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from load_bundles import MOMENT, lookup

from hasten import manifest
from hasten.child import Child
from hasten.errors import InputError
from hasten.measure import livestream
from hasten.measure._live_child import Live
from hasten.measure._load_settings import QUICK
from hasten.measure.livestream import _most, _run, live


@pytest.fixture(autouse=True)
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livestream, "QUICK", MOMENT)
    monkeypatch.setattr(livestream, "PROBE_S", 0.1)
    monkeypatch.setattr(livestream, "SEARCH_S", 0.2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with bundles.make(tmp_path_factory.mktemp("live") / "b") as made:
        return made.folder


class Slow:
    """A server that takes as long as it is told."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.count, self.asked = seconds, 10, []

    def answer(self, which: list[int]) -> np.ndarray:
        self.asked += which
        over = time.perf_counter() + self.seconds
        while time.perf_counter() < over:
            pass
        return np.zeros((1, 4), np.uint8)


def served(service_s: float, **asked: Any) -> tuple[dict[str, Any], Slow]:
    child, child_loaded = Live(), Slow(service_s)
    child._loaded = child_loaded  # type: ignore[assignment]
    return child.serve(**asked), child_loaded


def test_a_quick_server_is_on_time() -> None:
    found, _ = served(0.0001, streams=2, fps=50, seconds=0.5, waiting=4)
    assert found["frames"] == len(found["ms"]) == 50
    assert found["dropped"] == 0
    assert 0.1 <= np.median(found["ms"]) < 10
    assert found["seconds"] >= 49 / 100


def test_time_runs_from_when_a_frame_is_due() -> None:
    """Half as fast as frames come: each waits longer than the one before, until the queue is full and the oldest go."""
    found, server = served(0.02, streams=1, fps=100, seconds=0.6, waiting=5)
    frames, times = found["frames"], found["ms"]
    assert frames == 60
    assert len(times) + found["dropped"] == frames
    assert found["dropped"] >= 0.3 * frames
    assert times[0] < times[3] < times[5]  # a server that waited for it would time the call alone: 20 ms, always
    assert np.median(times[10:]) >= 50  # as long as a full queue takes
    assert max(times) < 1000  # and no longer: the queue is bounded
    assert server.asked[-1] == 59 % 10  # the newest is never what is dropped


def test_dropped_frames_count_as_late_as_can_be() -> None:
    found = {"frames": 1000, "ms": [1.0] * 980, "dropped": 20, "seconds": 10.0, "kept": []}
    run = _run(found, 3, 60, 16.0, QUICK)
    assert (run["percentiles"]["p95"], run["percentiles"]["p99"]) == (1.0, None)
    assert "p99 is among the frames that were dropped" in run["percentiles_said"]
    assert run["reasons"] == ["3 streams are not held: 0 frames are late and 20 are dropped, of 1000"]
    assert run["live"] == {"streams": 3, "held": 0, "frames": 1000, "on_time": 980, "late": 0, "dropped": 20}
    good = _run(found | {"ms": [1.0] * 995, "dropped": 5}, 3, 60, 16.0, QUICK)
    assert (good["valid"], good["live"]["held"]) == (True, 3)
    late = _run(found | {"ms": [1.0] * 985 + [20.0] * 15, "dropped": 0}, 3, 60, 16.0, QUICK)
    assert (late["valid"], late["percentiles"]["p99"], late["live"]["late"]) == (False, 20.0, 15)
    few = _run(found | {"frames": 300, "ms": [1.0] * 300, "dropped": 0}, 3, 60, 16.0, QUICK)
    assert few["percentiles"]["p99"] is None
    assert not few["valid"]
    assert "300 frames are too few samples for p99 (662 are needed)" in few["percentiles_said"]


@pytest.mark.parametrize(("truth", "most"), [(0, 8), (1, 8), (5, 8), (8, 8), (37, 40), (1, 1)])
def test_the_search_finds_the_most(truth: int, most: int) -> None:
    assert _most(lambda count: count <= truth, most) == max(1, truth)


def test_streams_of_a_bundle(bundle: Path, tmp_path: Path) -> None:
    found = live(bundle, fps=250, deadline_ms=200, streams=2, logs=tmp_path / "logs")
    Draft202012Validator(manifest.schema("load")).validate(found)
    json.dumps(found, allow_nan=False)
    run = found["runs"][0]
    assert run["live"]["streams"] == 2
    assert run["live"]["on_time"] + run["live"]["late"] + run["live"]["dropped"] == run["queries"] == 663
    assert run["checks"][0]["passed"], run["checks"]
    assert json.loads(Path(run["settings_file"]).read_text())["deadline_ms"] == 200
    assert found["search"] == []
    assert found["loadgen"] is None


def test_the_most_streams_are_searched(bundle: Path) -> None:
    found = live(bundle, fps=250, deadline_ms=300)
    assert found["search"]
    assert found["runs"][0]["live"]["streams"] >= 1
    Draft202012Validator(manifest.schema("load")).validate(found)


def test_what_cannot_be_measured_in_the_time_is_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"at 1 frames a second 662 frames.*no valid run within the 60 s"):
        live(bundle, fps=1)


def test_another_answer_under_load_is_seen(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.array([[1.0], [2.0]], np.float32))
    good = [[0, np.float32(1).tobytes().hex()], [1, np.float32(2).tobytes().hex()]]
    assert livestream._answers(good, tmp_path)["passed"]
    bad = [good[0], [1, np.float32(3).tobytes().hex()]]
    assert livestream._answers(bad, tmp_path)["said"] == "1 of 2 answers under load are not those at rest"


def test_an_engine_that_fails_is_a_sentence(tmp_path: Path) -> None:
    with lookup(tmp_path) as made:
        folder = made.folder
    (tmp_path / "samples").mkdir()
    np.save(tmp_path / "samples" / "0.npy", np.array([0, 1, 99], np.int64))
    with Child("hasten.measure._live_child:Live") as child:
        child.call("open", bundle=str(folder), samples=str(tmp_path / "samples"))
        with pytest.raises(InputError, match="the engine fails"):
            child.call("serve", 30.0, streams=1, fps=100, seconds=1.0, waiting=2)
