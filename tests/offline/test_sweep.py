"""How a job uses the machine is measured whatever its samples and its network are like."""

import json
from pathlib import Path
from typing import Any

import bundles
import dying
import numpy as np
import pytest
from onnx import helper
from test_job import archive, errors

from hasten.data import Data
from hasten.offline import hand, job, sweep
from hasten.stage import Stage


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


def test_a_sweep_that_found_nothing_is_made_again(bundle: Path, tmp_path: Path, cache: Path) -> None:
    x = archive(tmp_path / "x.npz", 128)
    swept(bundle, x)
    cache.write_text(json.dumps({key: way | {"per_s": 0.0} for key, way in json.loads(cache.read_text()).items()}))
    assert swept(bundle, x)["per_s"] > 0


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


@pytest.mark.parametrize("bad", [1, 128])
def test_samples_whose_answers_are_not_finite(tmp_path: Path, cache: Path, bad: int) -> None:
    """The first, or all: roots of negative values. Where nothing is answered nothing is remembered."""
    nodes = [helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("MatMul", ["r", "head"], ["logits"])]
    shapes = {"x": ["N", bundles.HIDDEN]}, {"logits": ["N", bundles.CLASSES]}
    file = bundles.save(tmp_path / "n.onnx", nodes, *shapes, {"head": bundles.weights()["head"]})
    x = np.random.default_rng(0).uniform(1, 2, (128, bundles.HIDDEN)).astype(np.float32)
    bundles.make(tmp_path / "bundle", stages=[Stage.of(file, bundles.engine())], cases=Data({"x": x})).close()
    np.savez(tmp_path / "x.npz", x=np.where(np.arange(128)[:, None] < bad, -x, x))
    found = swept(tmp_path / "bundle", tmp_path / "x.npz")
    assert (found["batch"] > 1, found["per_s"] > 0, cache.exists()) == ((bad == 1,) * 3)


def test_a_slow_network(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose largest batches take longer than a worker may: they are not tried."""
    monkeypatch.setattr(hand, "WORKER", "dying:Slow")
    monkeypatch.setattr(sweep, "LONG_S", 10 * dying.Slow.SAMPLE_S)
    monkeypatch.setattr(sweep, "_LIMIT_S", 128 * dying.Slow.SAMPLE_S * 2.5)
    found = swept(bundle, archive(tmp_path / "x.npz", 128))
    assert found["batch"] in (1, 8)
    assert found["per_s"] > 0
