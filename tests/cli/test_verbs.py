"""Every verb as a user calls it, on a tiny network; `boost` itself is stood in for, since it has tests of its own."""

import importlib.metadata
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import onnx
import pytest
from results import refused, result

from hasten.cli import main
from hasten.data import Data
from hasten.manifest import validate as fits
from hasten.measure.peaks import Peaks
from hasten.model import OnnxModel

SPEC = Path(__file__).parents[2] / "spec"
TASK = """
import numpy as np
import torch
from hasten import Data, Task

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 4))

def data():
    return Data({"image": np.random.default_rng(0).normal(size=(64, 1, 8, 8)).astype(np.float32)})

task = Task("tiny", net, metric="agreement", calibrate=data, validate=data)
"""


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    (tmp_path / "task.py").write_text(TASK)
    return tmp_path / "task.py"


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return bundles.whole(tmp_path / "whole.onnx")


def told(path: Path) -> Any:
    return json.loads((path / "told.json").read_text())


def call(path: Path, *words: object) -> int:
    return main([*map(str, words), "--json", str(path / "told.json")])


def test_export_of_a_task(task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "export", task_file, "-o", tmp_path / "m.onnx") == 0
    made, said = OnnxModel.load(tmp_path / "m.onnx"), told(tmp_path)
    assert made.signature.to_json() == said["signature"]
    assert said["exporter"] == "dynamo"
    assert 0 <= said["max_abs_difference"] < 1e-4
    assert "inputs: image float32 [N, 1, 8, 8]" in capsys.readouterr().out


def test_export_of_an_onnx_file(onnx_file: Path, tmp_path: Path) -> None:
    assert call(tmp_path, "export", onnx_file, "-o", tmp_path / "m.onnx") == 0
    assert OnnxModel.load(tmp_path / "m.onnx").signature == OnnxModel.load(onnx_file).signature
    assert told(tmp_path)["exporter"] is None


def test_export_with_fix(task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = task_file.read_text()
    net = text[text.index("    return torch.nn.Sequential") : text.index("def data")]
    made = (
        "    class Net(torch.nn.Module):\n"
        "        def forward(self, image):\n"
        "            total = image.flatten(1)\n"
        "            total = total * 2 if total.sum() > 0 else total * 3\n"
        "            return {'scores': [total], 'none': None}\n"
        "    return Net()\n\n"
    )
    task_file.write_text(text.replace(net, made))
    assert call(tmp_path, "export", task_file, "-o", tmp_path / "m.onnx") == 3
    assert "is a list" in capsys.readouterr().err
    assert call(tmp_path, "export", task_file, "-o", tmp_path / "m.onnx", "--fix") == 0
    assert told(tmp_path)["rewrites"] == ["plain_outputs in the network itself", "branches in the network itself"]
    assert "outputs: scores.0 float32 [N, 64]" in capsys.readouterr().out


def test_export_with_fix_reads_what_engines_do_not(onnx_file: Path, tmp_path: Path) -> None:
    """A file of an opset that came after these engines."""
    assert call(tmp_path, "export", onnx_file, "-o", tmp_path / "same.onnx", "--fix") == 0
    assert told(tmp_path)["rewrites"] == []
    proto = onnx.load(onnx_file)
    newest = onnx.defs.onnx_opset_version()
    made = onnx.version_converter.convert_version(proto, newest)
    onnx.save(made, tmp_path / "new.onnx")
    assert call(tmp_path, "export", tmp_path / "new.onnx", "-o", tmp_path / "m.onnx", "--fix") == 0
    assert told(tmp_path)["opset"] <= newest


def test_measure_of_a_task(
    task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hasten.measure.survey.LAUNCHES", 1)
    monkeypatch.setattr("hasten.measure.survey.best_threads", lambda *about: 1)  # it has tests of its own
    assert call(tmp_path, "measure", task_file, "--engine", "torch", "--engine", "onnxruntime", "-q") == 0
    rows = told(tmp_path)["rows"]
    assert [row["engine"].partition("(")[0] for row in rows] == ["torch", "torch", "onnxruntime"]
    for row in rows:
        assert 0 < row["latency_p50_ms"] <= row["latency_p90_ms"]
        assert row["macs"] == 4 * 9 * 36 + 144 * 4
        assert min(row[k] for k in ("throughput_per_s", "throughput_batch", "peak_memory_mb", "size_mb")) > 0
    assert told(tmp_path)["conditions"]["seed"] == 0
    assert capsys.readouterr() == ("", "")


def test_measure_tells_what_layers_achieve(
    task_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each engine that tells; eager torch does not."""
    rates = dict.fromkeys(("L1", "memory"), 10000000000.0)
    known = Peaks(1, {"f32": 1e11}, {"f32": "product on x"}, rates, rates, {"L1": 1 << 15})
    monkeypatch.setattr("hasten.measure.survey.LAUNCHES", 1)
    monkeypatch.setattr("hasten.measure.survey.best_threads", lambda *about: 1)
    monkeypatch.setattr("hasten.measure.profiled.peaks", lambda threads: known)
    page = tmp_path / "page.html"
    engines = ("--engine", "torch", "--engine", "onnxruntime")
    assert call(tmp_path, "measure", task_file, "--roofline", *engines, "--report", page, "--price", 2.5) == 0
    fits(told(tmp_path), "measure", tmp_path)
    *torch, onnx = (row["roofline"] for row in told(tmp_path)["rows"])
    assert [row["reason"] for row in torch] == ["this engine does not tell what its layers take"] * 2
    assert sum(layer["operations"] for layer in onnx["layers"]) == 2 * (4 * 9 * 36 + 144 * 4)
    assert onnx["sum_ms"] == pytest.approx(sum(layer["ms"] for layer in onnx["layers"]))
    assert onnx["plain_ms"] > 0
    assert 0 < onnx["sum_ms"] < 1.5 * onnx["profiled_ms"]
    assert onnx["peaks"] == known.to_json()
    shown = " ".join(capsys.readouterr().out.split())
    assert "layers on onnxruntime" in shown
    assert "f32 100 Gop/s (product on x)" in shown
    assert "a million, batched" in shown
    assert json.dumps(onnx["layers"][0]["layer"]) in page.read_text()
    for row in told(tmp_path)["rows"]:
        assert row["cost"]["batched"] == pytest.approx(2.5 / 3600 * 1e6 / row["throughput_per_s"])


def test_measure_tells_what_was_folded_at_export(
    task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that is called and has no node of its own."""
    text = task_file.read_text()
    assert "torch.nn.Flatten()" in text
    task_file.write_text(text.replace("torch.nn.Flatten()", "torch.nn.Dropout(0.5), torch.nn.Flatten()"))
    monkeypatch.setattr("hasten.measure.survey.survey", lambda *about, **how: [{"engine": "x", "reason": "not now"}])
    assert call(tmp_path, "measure", task_file) == 1
    assert [said.partition(" ")[2] for said in told(tmp_path)["folded"]] == ["(Dropout)"]
    fits(told(tmp_path), "measure", tmp_path)


@pytest.mark.parametrize("price", ["0", "-1", "free", "inf"])
def test_no_price_is_a_usage_error(price: str, onnx_file: Path, tmp_path: Path) -> None:
    assert call(tmp_path, "measure", onnx_file, "--price", price) == 2


def test_measure_of_several_stages_has_no_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "measure", SPEC / "golden" / "video", "--roofline") == 2
    assert "has 2 stages; give one of its ONNX files" in capsys.readouterr().err


def test_measure_of_a_bundle_runs_what_it_was_made_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hasten.measure.survey.LAUNCHES", 1)
    bundle = bundles.make(tmp_path / "b")
    assert call(tmp_path, "measure", bundle.folder) == 0
    (row,) = told(tmp_path)["rows"]
    assert row["engine"] == str(bundle.stages[0].settled())
    assert row["engine"] in capsys.readouterr().out


def test_measure_of_a_bundle_tells_the_whole_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From raw frames to events, through two stages, in Python and in C++."""
    monkeypatch.setattr("hasten.measure.whole.LAUNCHES", 2)
    monkeypatch.setattr("hasten.measure.whole.CALLS_S", 0.1)
    assert call(tmp_path, "measure", SPEC / "golden" / "video") == 0
    assert told(tmp_path)["rows"] == []
    rows = told(tmp_path)["end_to_end"]
    assert [(row["runner"], row["reason"]) for row in rows] == [("Python", ""), ("C++", "")]
    for row in rows:
        parts = [row[f"{part}_p50_ms"] for part in ("prepare", "model", "answer")]
        assert min(parts) > 0
        assert sum(parts) <= 1.5 * row["latency_p50_ms"]
        assert row["over_model"] == row["latency_p50_ms"] / row["model_p50_ms"] > 1
    assert rows[0]["over_python"] == 1
    low, high = rows[1]["over_python_range"]
    assert low <= rows[1]["over_python"] <= high
    out = capsys.readouterr().out
    assert "Python" in out
    assert "C++" in out


def test_measure_of_a_bundle_that_cpp_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On ONNX Runtime, which the C++ runtime was not built with: the row says so."""
    monkeypatch.setattr("hasten.measure.survey.LAUNCHES", 1)
    monkeypatch.setattr("hasten.measure.whole.LAUNCHES", 1)
    monkeypatch.setattr("hasten.measure.whole.CALLS_S", 0.1)
    assert call(tmp_path, "measure", bundles.make(tmp_path / "b").folder) == 0
    python, native = told(tmp_path)["end_to_end"]
    assert python["latency_p50_ms"] > 0
    assert "onnxruntime" in native["reason"]


@pytest.mark.parametrize("given", [True, False])
def test_measure_of_an_onnx_file(given: bool, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def survey(
        model: OnnxModel, engines: list, feed: Path, task_file: object, seed: int, **how: bool
    ) -> list[dict[str, Any]]:
        seen.update(path=model.path, kinds={type(e).takes for e in engines}, data=Data.load(feed).inputs["x"].copy())
        return [{"engine": "onnxruntime", "reason": "it is not here"}]

    monkeypatch.setattr("hasten.measure.survey.survey", survey)
    np.savez(tmp_path / "f.npz", x=np.ones((3, bundles.FEATURES), np.float32), target=np.ones(3))
    assert call(tmp_path, "measure", onnx_file, *(["--data", tmp_path / "f.npz"] if given else []), "--seed", "5") == 1
    assert seen["kinds"] == {"onnx"}
    drawn = np.random.default_rng(5).normal(size=(64, bundles.FEATURES)).astype(np.float32)
    np.testing.assert_array_equal(seen["data"], np.ones((3, bundles.FEATURES)) if given else drawn)


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundles.make(tmp_path / "b")
    assert call(tmp_path, "verify", bundle.folder) == 0
    assert told(tmp_path) | {"bundle": ""} == {"bundle": "", "cases": 8, "verified": True, "reason": "", "seed": 0}
    assert "8 golden cases" in capsys.readouterr().out


def test_verify_says_no(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from hasten.bundle import Bundle

    bundle, infer = bundles.make(tmp_path / "b"), Bundle.infer
    monkeypatch.setattr(Bundle, "infer", lambda self, x: {k: v + 1 for k, v in infer(self, x).items()})
    assert call(tmp_path, "verify", bundle.folder) == 1
    assert told(tmp_path)["verified"] is False
    assert "golden case" in capsys.readouterr().err


def test_verify_against_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The task's pipeline is the bundle's; then a label is another one."""
    bundle = bundles.make(tmp_path / "b")
    task = """from hasten import Answer, Pipeline, Task
task = Task("t", lambda: None, "top1", pipeline=Pipeline(answer=Answer("classes", labels=("a", "b", "c"))))
"""
    (tmp_path / "task.py").write_text(task)
    assert call(tmp_path, "verify", bundle.folder, "--task", tmp_path / "task.py") == 0
    (tmp_path / "task.py").write_text(task.replace('"b", "c"', '"c", "b"'))
    assert call(tmp_path, "verify", bundle.folder, "--task", tmp_path / "task.py") == 1
    said = "answer.labels: ('a', 'b', 'c') in the bundle, ('a', 'c', 'b') in the task"
    assert said in capsys.readouterr().err
    assert said in told(tmp_path)["reason"]


VIDEO = """from hasten import Answer, Pipeline, Prepare, Task, Window

pipeline = Pipeline(
    {"frame": Prepare("image", source="I420", size=(6, 8), std=(64.0,), mean=(110.0,), range="limited")},
    Window(seconds=0.5, fps=6.0, stride_s=0.25),
    Answer("events", "sigmoid", ("shot", "pass"), on=0.6, off=0.4, refractory_s=2.0),
)
task = Task("video", lambda: None, "top1", pipeline=pipeline)
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seconds=0.5", "seconds=1.0", "window.seconds: 0.5 in the bundle, 1.0 in the task"),
        ("mean=(110.0,)", "mean=(111.0,)", "inputs.frame.mean: (110.0,) in the bundle, (111.0,) in the task"),
        (
            "size=(6, 8)",
            "size=(6, 8), filter='bicubic'",
            "inputs.frame.filter: bilinear in the bundle, bicubic in the task",
        ),
        ('range="limited"', 'range="full"', "inputs.frame.range: limited in the bundle, full in the task"),
        (
            '("shot", "pass")',
            '("shot", "goal")',
            "answer.labels: ('shot', 'pass') in the bundle, ('shot', 'goal') in the task",
        ),
    ],
    ids=["window", "mean", "resize", "range", "label"],
)
def test_verify_catches_a_mutation_of_the_task(
    old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("verify", SPEC / "golden" / "video", "--task", tmp_path / "task.py")
    (tmp_path / "task.py").write_text(VIDEO)
    assert call(tmp_path, *words) == 0
    assert old in VIDEO
    (tmp_path / "task.py").write_text(VIDEO.replace(old, new))
    assert call(tmp_path, *words) == 1
    err = capsys.readouterr().err
    assert f"task.py has drifted from {SPEC}/golden/video: {said}\n" in err
    assert told(tmp_path)["reason"].endswith(said)


def test_verify_lets_no_engine_see_a_hostile_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that has no end, in a bundle that was sealed again."""
    folder = bundles.make(tmp_path / "b").folder
    model = onnx.load(folder / "model.onnx")
    model.graph.node[0].input[0] = model.graph.node[1].output[0]
    onnx.save(model, folder / "model.onnx")
    bundles.forge(folder)
    assert call(tmp_path, "verify", folder) == 3
    assert "model.onnx" in capsys.readouterr().err
    assert call(tmp_path, "measure", folder, "--engine", "onnxruntime") == 3


@pytest.mark.parametrize("name", ["model.onnx", "golden/cases.json", "golden/003/output.logits.npy"])
def test_verify_catches_one_byte(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundles.make(tmp_path / "b").folder
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert call(tmp_path, "verify", folder) == 3
    assert f"{folder / name} was changed after the bundle was made" in capsys.readouterr().err
    assert not (tmp_path / "told.json").exists()


def test_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from hasten import find

    assert call(tmp_path, "doctor") == 0
    parts = {(p["kind"], p["name"]): p["missing"] for p in told(tmp_path)["parts"]}
    assert {("engine", name) for name in find.engines()} | {("technique", name) for name in find.techniques()} < set(
        parts
    )
    assert parts["engine", "onnxruntime"] is None
    assert parts["parser", f"tensorrt_rtx {importlib.metadata.version('tensorrt-rtx')}"] is None
    for kind in find.engines().values():
        monkeypatch.setattr(kind, "missing", classmethod(lambda cls: "pip install it"))
    assert call(tmp_path, "doctor") == 5
    out, said = capsys.readouterr()
    assert "pip install it" in out
    assert "no engine that runs ONNX" in said


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out.trials").mkdir()
    (tmp_path / "out.trials" / "result.json").write_text(json.dumps(result()))
    assert call(tmp_path, "report", tmp_path / "out") == 0
    assert told(tmp_path) == result()
    assert result()["verdict"] in (tmp_path / "out.trials" / "report.html").read_text()
    assert result()["verdict"] in capsys.readouterr().out


@pytest.fixture
def boosted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `hasten.boost.boost` was called with; it gives `answer`."""
    seen: dict[str, Any] = {"answer": result()}

    def boost(task: object, output: str, budget: object, **more: Any) -> dict[str, Any]:
        seen.update(task=task, output=output, budget=budget, **more)
        return seen["answer"]

    monkeypatch.setattr(import_module("hasten.boost"), "boost", boost)
    return seen


def test_boost_hands_over_every_option(task_file: Path, boosted: dict[str, Any], tmp_path: Path) -> None:
    words = [
        "--max-drop",
        "0.02",
        "--latency-ms",
        "3",
        "--time",
        "2m",
        "--engine",
        "onnxruntime",
        "--recipe",
        "half",
        "--resume",
    ]
    assert call(tmp_path, "boost", task_file, "-o", tmp_path / "out", *words, "--resume", "--seed", "7") == 0
    assert boosted["task"].name == "tiny"
    assert vars(boosted["budget"]) == {"max_drop": 0.02, "speedup": None, "latency_ms": 3.0, "time_s": 120.0}
    assert (boosted["engines"], boosted["recipes"], boosted["resume"], boosted["seed"]) == (
        ["onnxruntime"],
        ["half"],
        True,
        7,
    )
    assert boosted["command"].startswith(f"hasten boost {task_file} -o")
    fits(told(tmp_path), "result", tmp_path)


def test_boost_shows_the_table_and_says_no(
    task_file: Path, boosted: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boosted["answer"] = refused()
    assert call(tmp_path, "boost", task_file, "-o", tmp_path / "out") == 1
    out, said = capsys.readouterr()
    assert "baselines" in out
    assert said == f"hasten: {refused()['verdict']}\n"
    assert told(tmp_path) == refused()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["boost", "TASK", "-o", "o", "--engine", "onxruntime"], 2, "did you mean 'onnxruntime'"),
        (["boost", "ONNX", "-o", "o"], 2, "add --validate"),
        (["boost", "TASK", "-o", "o", "--metric", "top1"], 2, "--metric is for ONNX files"),
        (["measure", "ONNX", "--engine", "torch"], 2, "the engine torch runs torch models"),
        (["measure", "TASK", "--data", "f.npz"], 2, "--data is for ONNX files"),
        (["measure", "FREE"], 3, "--data F.npz"),
        (["measure", "LOST"], 3, "does not exist"),
        (["export", "LOST", "-o", "o.onnx"], 3, "does not exist"),
        (["export", "BROKEN", "-o", "o.onnx"], 3, "ValueError: oh"),
        (["verify", "LOST"], 3, "is not a folder"),
        (["report", "LOST"], 3, "holds no result"),
    ],
)
def test_mistakes(
    words: list[str], code: int, sentence: str, task_file: Path, onnx_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "broken.py").write_text("raise ValueError('oh')\n")
    nodes = [bundles.helper.make_node("Relu", ["x"], ["y"])]
    free = bundles.save(tmp_path / "free.onnx", nodes, {"x": ["N", "T"]}, {"y": ["N", "T"]}, {})
    places = {"TASK": task_file, "ONNX": onnx_file, "LOST": "lost.onnx", "BROKEN": tmp_path / "broken.py", "FREE": free}
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main([str(places.get(w, w)) for w in words]) == code
    said = capsys.readouterr().err
    assert sentence in said
    assert said.splitlines()[-1].startswith("hasten: ")
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "__pycache__"}
