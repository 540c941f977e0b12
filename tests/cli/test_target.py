"""hasten export for an engine or a board: what is written, and what is refused before anything is."""

import json
from pathlib import Path

import bundles
import numpy as np
import pytest
from tiny import tiny_data

from hasten.cli import main
from hasten.engines import _rtx
from hasten.model import OnnxModel

STEP = "quantize(method=placed, engine=tensorrt)"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return bundles.whole(tmp_path / "whole.onnx")


@pytest.mark.skipif(_rtx.missing() is not None, reason=str(_rtx.missing()))
def test_an_engine_file(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_data(64, 2).save(tmp_path / "c")
    words = ["--engine", "tensorrt_rtx", "--recipe", STEP, "--calibrate", str(tmp_path / "c")]
    out, told = tmp_path / "m.engine", tmp_path / "told.json"
    assert main(["export", str(tiny_onnx), "-o", str(out), *words, "--json", str(told)]) == 0
    said = json.loads(told.read_text())
    assert said["engine"] == "tensorrt_rtx"
    assert said["size_mb"] == out.stat().st_size / 1e6 > 0
    assert "not verified on hardware" in capsys.readouterr().out


def test_the_folder_of_a_board(tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without data, on random inputs; made again in its place, and never in the place of something else."""
    out = tmp_path / "board"
    words = ["export", str(tiny_onnx), "-o", str(out), "--for", "jetson-xavier"]
    assert main(words) == main(words) == 0
    assert OnnxModel.load(out / "model.onnx").opset <= 17
    assert not (out / "calibration.cache").exists()
    assert "gpu-fp16: model.onnx --fp16" in capsys.readouterr().out
    case = np.load(next((out / "golden").glob("00-0.npy")), allow_pickle=False)
    assert case.shape[0] == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert main(["export", str(tiny_onnx), "-o", str(tmp_path / "mine"), "--for", "jetson-xavier"]) == 2
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["-o", "m.engine", "--engine", "tensort"], 2, "did you mean 'tensorrt'"),
        (["-o", "m.engine", "--engine", "onnxruntime"], 2, "has no file of its own"),
        (["-o", "out", "--for", "jetson-nano"], 2, "no board is called 'jetson-nano'"),
        (["-o", ".", "--engine", "tensorrt_rtx"], 2, "is a folder"),
        (["-o", "m.onnx", "--recipe", "quantise"], 2, "did you mean 'quantize'"),
        (["-o", "m.onnx", "--recipe", "prune(0.5)"], 2, "works on the torch model"),
        (["-o", "m.onnx", "--recipe", "quantize"], 3, "no calibrate data"),
    ],
)
def test_mistakes(
    words: list[str], code: int, sentence: str, onnx_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["export", str(onnx_file), *words]) == code
    assert sentence in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_recipe_is_applied_to_an_onnx_file(tiny_onnx: Path, tmp_path: Path) -> None:
    tiny_data(64, 2).save(tmp_path / "c")
    out = tmp_path / "m.onnx"
    words = ["export", str(tiny_onnx), "-o", str(out), "--recipe", STEP, "--calibrate", str(tmp_path / "c")]
    assert main(words) == 0
    assert OnnxModel.load(out).quantized
