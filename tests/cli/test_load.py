"""`hasten measure BUNDLE --scenario S` as a user calls it, with runs of a moment."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest

from hasten.cli import main
from hasten.measure import _load_checks, livestream, loadgen, lock
from hasten.measure._load_settings import QUICK


@pytest.fixture(autouse=True)
def moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(QUICK, seconds=0.3, warm_s=0.05)
    for module in (loadgen, livestream):
        monkeypatch.setattr(module, "QUICK", short)
        monkeypatch.setattr(module, "PROBE_S", 0.1)
    monkeypatch.setattr(_load_checks, "PAIRS", 1)
    monkeypatch.setattr(_load_checks, "CACHED", 0.1)
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with bundles.make(tmp_path_factory.mktemp("cli") / "b") as made:
        return made.folder


def called(path: Path, *words: object) -> tuple[int, Any]:
    told = path / "told.json"
    code = main(["measure", *map(str, words), "--json", str(told)])
    return code, json.loads(told.read_text()) if told.exists() else None


def test_a_scenario(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = called(tmp_path, bundle, "--scenario", "SingleStream", "--seed", 3)
    said = capsys.readouterr().out
    assert code == 0
    assert [run["valid"] for run in told["load"]["runs"]] == [True, True]
    assert told["load"]["runs"][0]["settings"]["seed"] == 3
    assert "SingleStream, performance" in said
    assert said.rstrip().endswith("measured with LoadGen, not an MLPerf result")


def test_streams(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--scenario", "LiveStream", "--fps", 250, "--deadline", 200, "--streams", 1)
    code, told = called(tmp_path, bundle, *words)
    assert code == 0
    assert told["load"]["runs"][0]["live"]["held"] == 1
    assert "1 streams of 250 frames a second within 200 ms" in capsys.readouterr().out


def test_the_answer_may_be_no(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--scenario", "LiveStream", "--fps", 1000, "--deadline", 1e-6, "--streams", 1)
    code, told = called(tmp_path, bundle, *words, "-q")
    assert (code, told["load"]["runs"][0]["valid"]) == (1, False)
    assert "LiveStream, performance: not valid: 1 streams are not held" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--scenario", "singlestream"], 2, "no scenario is called 'singlestream'; did you mean 'SingleStream'?"),
        (["--strict"], 2, "--strict is for a bundle under load; add --scenario"),
        (["--scenario", "Server", "--engine", "openvino"], 2, "--engine does not go with --scenario"),
        (["--scenario", "Server", "--fps", "30"], 2, "--fps is for LiveStream"),
        (["--scenario", "LiveStream", "--cpp"], 2, "--cpp is for LoadGen's scenarios"),
        (["--scenario", "Offline", "--latency", "3"], 2, "--latency is for Server"),
        (["--scenario", "Server", "--latency", "0"], 2, "is not a number above 0"),
        (["--scenario", "LiveStream", "--streams", "0"], 2, "is not a whole number from 1"),
        (["--scenario", "LiveStream", "--fps", "1"], 3, "no valid run within the 60 s of the quick preset"),
        (["--scenario", "Offline", "--task", "nowhere.py"], 3, "does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_a_sentence(
    words: list[str], code: int, said: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(tmp_path, bundle, *words)[0] == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_is_no_bundle_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bundles.whole(tmp_path / "whole.onnx")
    for what, said in (
        (file, "whole.onnx is not a bundle"),
        (tmp_path, "is not a bundle; --scenario loads one that hasten boost has made"),
        (tmp_path / "nothing", "nothing is not a folder"),
    ):
        assert called(tmp_path, what, "--scenario", "Offline") == (3, None)
        assert said in capsys.readouterr().err


def test_a_changed_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bundles.make(tmp_path / "b") as made:
        (made.folder / "model.onnx").write_bytes(b"other")
    assert called(tmp_path, tmp_path / "b", "--scenario", "Offline") == (3, None)
    assert "model.onnx was changed" in capsys.readouterr().err
