"""The scripts around the bars: what they read, what they write, and a library called directly."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from results import comparison

from bar import line_of
from bars import BARS
from commands import ROOT
from comparison_page import KEPT, PAGE, rendered
from contender import Contender
from entries import entry
from hasten.search.store import Store
from hasten.search.trial import Trial
from kill_resume import ended, stored
from parity_images import EACH, compared
from results_table import BEGIN, END, place, table

ROW = {
    "recipe": "as it is", "engine": "onnxruntime(threads=2)", "latency_p50_ms": 1.5, "speedup": 1.0, "accuracy": 0.93,
    "accuracy_drop": 0.0, "accuracy_drop_ci95": [0.0, 0.0], "size_mb": 4.4,
    "split": "test",
}  # fmt: skip
RESULT = {
    "task": "fashion",
    "baselines": [ROW],
    "winner": ROW | {"recipe": "quantize", "latency_p50_ms": 0.5, "speedup": 3.0, "accuracy_drop_ci95": None},
    "conditions": {"cpu": "a processor", "cores": 2, "date": "2026-01-02T03:04:05+00:00"},
}


def test_every_bar_is_a_script_that_is_there() -> None:
    for name, (_, command) in BARS.items():
        assert command[0] == "make" or Path(command[0]).is_file(), name


@pytest.mark.parametrize("name", [name for name, (_, command) in BARS.items() if command[0] != "make"])
def test_every_bar_begins_alone(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script, examples = Path(BARS[name][1][0]), ROOT / "examples"
    folders = (script.parent, examples, examples / "zoo")
    ours = {path.stem for folder in folders for path in folder.iterdir()}
    for module in [m for m in sys.modules if m.partition(".")[0] in ours]:
        monkeypatch.delitem(sys.modules, module)  # what another script has imported is no help
    others = [p for p in sys.path if p not in map(str, folders)]
    monkeypatch.setattr(sys, "path", [str(script.parent), *others])
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert not ended.value.code
    assert script.name in capsys.readouterr().out


def test_a_bar_is_one_line_with_figure_and_bound() -> None:
    assert line_of("speed", 2.34567, "at least 2", True) == "BAR yes speed: 2.346 (bound: at least 2)"
    assert line_of("errors", 3, "0", False).startswith("BAR NO ")


def test_the_table_goes_between_the_markers_and_nowhere_else() -> None:
    made = table([RESULT])
    text = place(f"before\n{BEGIN}\nold\n{END}\nafter\n", made)
    assert text == f"before\n{BEGIN}\n{made}\n{END}\nafter\n"
    assert place(text, made) == text
    assert "| **`quantize` on `onnxruntime(threads=2)`** |" in made
    assert made.count("fashion") == 1
    with pytest.raises(ValueError, match="needs one line"):
        place("no markers", made)


def test_random_images_are_the_same_in_cpp(tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        assert compared(np.random.default_rng(seed), tmp_path / str(seed)) == (EACH, EACH, EACH)


def test_kill_resume_reads_what_the_search_stores(tmp_path: Path) -> None:
    done, begun = Trial("a", "onnxruntime"), Trial("b", "onnxruntime")
    assert stored(tmp_path) == {}
    with Store(tmp_path) as store:
        for trial in (done, begun):
            store.plan(trial)
            store.start(trial)
        store.end(Trial("a", "onnxruntime", status="kept"))
        before = stored(tmp_path)
        assert {k: (status, times) for k, (status, times, _) in before.items()} == {
            done.key: ("kept", 1),
            begun.key: ("pending", 1),
        }
        assert set(ended(before)) == {done.key}
        store.start(done)
        assert stored(tmp_path)[done.key] != before[done.key], "a trial that is started again is seen"


def test_settings_of_a_bundle_become_the_librarys_own(tmp_path: Path) -> None:
    made = entry("x", "openvino", tmp_path, {"threads": 2, "hint": "bf16", "streams": 1, "transforms": False})
    assert made.settings == {
        "threads": 2,
        "INFERENCE_PRECISION_HINT": "bf16",
        "NUM_STREAMS": 1,
        "LP_TRANSFORMS_MODE": "NO",
    }
    plain = entry("x", "openvino", tmp_path, {"threads": "1"})
    assert plain.settings == {"threads": 1, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    assert entry("x", "onnxruntime", tmp_path, {"threads": 2}).settings == {"threads": 2}


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_a_contender_times_and_answers(library: str, tiny_onnx: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(70, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=image, target=np.zeros(70, np.int64))
    settings = {"threads": 1} | ({"INFERENCE_PRECISION_HINT": "f32"} if library == "openvino" else {})
    contender = Contender("tiny", tiny_onnx, library, settings, tmp_path / "data.npz")
    try:
        times = contender.burst(12)
        answers = contender.answers(tmp_path / "data.npz", tmp_path / "out.npy")
        contender.start()
        assert len(contender.burst(3)) == 3
    finally:
        contender.close()
    assert len(times) == 12
    assert min(times) > 0
    expected = onnxruntime.InferenceSession(str(tiny_onnx)).run(None, {"image": image})[0]
    np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_a_contender_that_dies_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    np.savez(tmp_path / "data.npz", image=np.zeros((2, 1), np.float32))
    with pytest.raises(RuntimeError, match=r"broken: .*(Protobuf|protobuf|INVALID)"):
        Contender("broken", tmp_path / "bad.onnx", "onnxruntime", {"threads": 1}, tmp_path / "data.npz")


def test_the_bars_can_be_listed() -> None:
    bars = Path(__file__).parents[2] / "benchmarks" / "bars.py"
    told = subprocess.run([sys.executable, str(bars), "--list"], check=True, capture_output=True, text=True)
    assert [line.split()[0] for line in told.stdout.splitlines()] == list(BARS)


def test_the_page_of_a_comparison_has_every_row() -> None:
    text = rendered(comparison())
    assert "`hasten compare examples/fashion/task.py -o out/compared --quick`, on A Processor" in text
    lines = [line for line in text.splitlines() if line.startswith("| prune(epochs=3) > quantize |")]
    assert len(lines) == 1
    assert "7.20 [7.06, 7.34]" in lines[0]
    heads = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(heads)) == 2  # two tables, each of one width


@pytest.mark.skipif(not KEPT.exists(), reason="docs/comparison.json is measured, not made by hand")
def test_the_page_that_is_kept_is_of_the_result_that_is_kept() -> None:
    assert PAGE.read_text() == rendered(json.loads(KEPT.read_text()))
