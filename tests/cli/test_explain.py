"""hasten explain, from the command line: a reason that is there is found, and bad input is told in a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import model
from onnx import helper

from hasten.cli import main
from hasten.manifest import validate
from hasten.measure.peaks import Peaks
from hasten.model import OnnxModel

RATES = dict.fromkeys(("L1", "memory"), 1e10)
KNOWN = Peaks(
    1,
    {"f32": 1e11, "bf16": 2e11, "int8": 4e11},
    dict.fromkeys(("f32", "bf16", "int8"), "x"),
    RATES,
    RATES,
    {"L1": 1 << 15},
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hasten.measure.survey.LAUNCHES", 1)
    monkeypatch.setattr("hasten.measure.survey.best_threads", lambda *about: 1)
    monkeypatch.setattr("hasten.measure.profiled.peaks", lambda threads: KNOWN)


def chain(length: int) -> OnnxModel:
    """Many layers with next to nothing to do."""
    nodes = []
    for i in range(length):
        op = ("Sin", "MatMul")[i % 2]
        value = f"v{i}" if i else "x"
        nodes.append(
            helper.make_node(op, [value, "w"][: 1 + i % 2], [f"v{i + 1}" if i < length - 1 else "y"], name=f"n{i}")
        )
    return OnnxModel(model(nodes, {"x": ("N", 8)}, {"y": ("N", 8)}, {"w": np.eye(8, dtype=np.float32)}))


def call(*words: object) -> int:
    return main(["explain", *map(str, words)])


def test_a_chain_of_nothings_is_overhead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = chain(60).save(tmp_path / "m.onnx").path
    other = chain(20).save(tmp_path / "n.onnx").path
    assert call(path, "--engine", "onnxruntime", "--against", other, "--json", tmp_path / "r.json") == 0
    found: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    validate(found, "explain", tmp_path)
    assert "overhead" in [finding["reason"] for finding in found["findings"]]
    assert found["engine"].startswith("onnxruntime")
    assert found["against"]["task"] == "n.onnx"
    assert 0 < found["against"]["latency_p50_ms"] < found["latency_p50_ms"]
    shown = capsys.readouterr().out
    assert "overhead" in shown
    assert "remedy: " in shown
    assert "against n.onnx" in shown


def test_what_cannot_be_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.onnx").write_text("this is no model")
    assert call(tmp_path / "no.onnx") == 3
    assert call(tmp_path / "gone.onnx") == 3
    path = chain(4).save(tmp_path / "m.onnx").path
    assert call(path, "--against", tmp_path / "gone.onnx") == 3
    assert call(path, "--engine", "nothing") == 2
    assert call(Path(__file__).parents[2] / "spec" / "golden" / "video") == 2
    errors = capsys.readouterr().err
    assert "has 2 stages; give one of its ONNX files" in errors
    assert "Traceback" not in errors


def test_another_network_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = chain(4).save(tmp_path / "m.onnx").path
    nodes = [helper.make_node("Sin", ["x"], ["y"], name="n")]
    other = OnnxModel(model(nodes, {"x": ("N", 9)}, {"y": ("N", 9)}, {})).save(tmp_path / "n.onnx").path
    assert call(path, "--against", other) == 3
    assert "n.onnx" in capsys.readouterr().err
