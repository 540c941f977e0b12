"""hasten-load, in C++: the same answers under LoadGen as Python at rest, and what it refuses."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import onnx
import pytest

from hasten import cpp
from hasten.cli import main
from hasten.data import Data
from hasten.errors import InputError, MissingError
from hasten.find import engine
from hasten.measure import _load_checks, loadgen, lock
from hasten.measure._load_runner import Cpp
from hasten.measure._load_settings import QUICK, Probe, performance
from hasten.measure._loadgen_log import run_of
from hasten.pipeline import Pipeline
from hasten.stage import Stage

MOMENT = replace(QUICK, seconds=0.3, warm_s=0.05)
SPEC = Path(__file__).parents[1] / "spec" / "golden"


@pytest.fixture(autouse=True)
def moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "QUICK", MOMENT)
    monkeypatch.setattr(loadgen, "PROBE_S", 0.1)
    monkeypatch.setattr(loadgen, "SEARCH_S", 0.2)
    monkeypatch.setattr(loadgen, "SEARCH_STEPS", 1)
    monkeypatch.setattr(_load_checks, "PAIRS", 1)
    monkeypatch.setattr(_load_checks, "CACHED", 0.1)
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock")


def said(*words: object) -> tuple[int, str]:
    ended = subprocess.run([cpp.load_program(), *map(str, words)], capture_output=True, text=True)
    assert len(ended.stderr.splitlines()) <= 1
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("bundle", "scenario"),
    [("classifier", "SingleStream"), ("two-inputs", "MultiStream"), ("cascade", "Server"), ("video", "Offline")],
)
def test_the_answers_are_those_of_python_at_rest(bundle: str, scenario: str, tmp_path: Path) -> None:
    bound = ("--latency", "200") if scenario == "Server" else ()
    words = ["measure", str(SPEC / bundle), "--scenario", scenario, "--cpp", *bound, "--json", str(tmp_path / "told")]
    assert main(words) == 0
    load = json.loads((tmp_path / "told").read_text())["load"]
    assert load["runner"] == "cpp"
    assert load["loadgen"] == cpp.LOADGEN[1]
    assert [run["valid"] for run in load["runs"]] == [True, True]
    assert load["runs"][1]["checks"][0]["said"] == "8 answers under load are those at rest, byte for byte"


def test_a_fault_under_load_is_a_sentence(tmp_path: Path) -> None:
    """x [N, 6] -> the places [k, 2] of what is not zero: an answer a sample as long as each row has one such place."""
    nodes = [onnx.helper.make_node("NonZero", ["x"], ["at"]), onnx.helper.make_node("Transpose", ["at"], ["place"])]
    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 6])
    made = onnx.helper.make_tensor_value_info("place", onnx.TensorProto.INT64, ["k", 2])
    graph = onnx.helper.make_graph(nodes, "places", [given], [made])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "places.onnx",
    )
    stage = Stage.of(tmp_path / "places.onnx", engine("openvino")(threads=1))
    rows = np.eye(6, dtype=np.float32)[np.arange(16) % 6]
    with bundles.make(tmp_path / "b", stages=[stage], pipeline=Pipeline(), cases=Data({"x": rows})) as bundle:
        folder = bundle.folder
    samples = tmp_path / "samples"
    samples.mkdir()
    rows[-1] = 1.0
    np.save(samples / "0.npy", rows)
    for scenario in ("SingleStream", "Server"):
        settings = performance(scenario, MOMENT, Probe(1.0, 1.0, {1: 1000.0}), 16, 0, qps=500.0, bound_ms=100.0)
        with pytest.raises(InputError, match="hasten-load: an output has no axis for the samples"):
            Cpp(folder).test(samples, replace(settings, warm_s=0.0), tmp_path / scenario)


def test_samples_that_do_not_fit_are_a_sentence(tmp_path: Path) -> None:
    stage = Stage.of(bundles.whole(tmp_path / "whole.onnx", batch=1), engine("openvino")(threads=1))
    with bundles.make(tmp_path / "b", stages=[stage]) as made:
        folder = made.folder
    samples = tmp_path / "samples"
    samples.mkdir()
    np.save(samples / "0.npy", np.zeros((4, bundles.FEATURES + 1), np.float32))
    with pytest.raises(InputError, match="hasten-load: "):
        Cpp(folder).probe(samples, 0.1)
    np.save(samples / "0.npy", np.zeros((4, bundles.FEATURES), np.float64))
    with pytest.raises(InputError, match="does not hold samples of 'x'"):
        Cpp(folder).probe(samples, 0.1)
    np.save(samples / "0.npy", np.zeros((4, bundles.FEATURES), np.float32))
    probe = Cpp(folder).probe(samples, 0.1)
    assert probe.per_s[1] > 0
    settings = performance("SingleStream", MOMENT, Probe(1.0, 1.0, {1: 1000.0}), 4, 0)
    with pytest.raises(InputError, match="does not fit the samples"):
        Cpp(folder).test(samples, replace(settings, samples=9), tmp_path / "out")


def test_a_bundle_for_another_engine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bundles.make(tmp_path / "b") as made:
        assert main(["measure", str(made.folder), "--scenario", "Offline", "--cpp"]) == 5
    assert "onnxruntime" in capsys.readouterr().err


def test_wrong_words_are_a_sentence(tmp_path: Path) -> None:
    bundle = SPEC / "classifier"
    assert said("--help")[0] == 0
    for words, told in (
        ((), "a bundle and --samples are needed"),
        ((bundle, "--samples", tmp_path), "either --probe or --settings is needed"),
        ((bundle, "--samples", tmp_path, "--settings", "x"), "--settings and --out go together"),
        ((bundle, "--samples", tmp_path, "--probe", "none"), "--probe needs seconds"),
        ((bundle, "--other"), "there is no option --other"),
    ):
        code, line = said(*words)
        assert (code, told in line) == (2, True), line
    assert said(tmp_path, "--samples", tmp_path, "--probe", 1)[0] == 3
    assert said(bundle, "--samples", tmp_path, "--probe", 1)[0] == 3


def test_sources_that_cannot_be_fetched_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = cpp.build()
    other = tmp_path / "cache" / "cpp" / runtime.name
    other.parent.mkdir(parents=True)
    other.symlink_to(runtime)
    monkeypatch.setenv("HASTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingError, match=r"the sources of mlcommons-loadgen .* cannot be fetched"):
        cpp.load_program()


def test_a_run_says_what_it_was(tmp_path: Path) -> None:
    from hasten.bundle import Bundle
    from hasten.measure._load_samples import gather

    with Bundle.load(SPEC / "grey", verify=False) as bundle:
        samples = gather(bundle, None, tmp_path)
    runner = Cpp(SPEC / "grey")
    probe = runner.probe(samples.folder, 0.1)
    settings = performance("SingleStream", MOMENT, probe, samples.count, 0)
    assert runner.test(samples.folder, settings, tmp_path / "run") == cpp.LOADGEN[1]
    assert run_of(tmp_path / "run", settings)["queries"] >= 64
