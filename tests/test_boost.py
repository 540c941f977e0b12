"""boost as a whole: on the tiny network, through both doors, with everything really measured."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import jsonschema
import numpy as np
import pytest

from hasten import Budget, boost
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.errors import InputError, MissingError, UsageError
from hasten.graph.quantize import Quantize
from hasten.model import OnnxModel
from hasten.search.progress import Silent
from hasten.search.workshop import Workshop
from hasten.task import Task

SCHEMA = json.loads((Path(__file__).parents[1] / "spec" / "result.schema.json").read_text())
QUICK = Budget(max_drop=0.05, time_s=600)
RECIPES = ("simplify", "simplify > quantize(method=onnxruntime)")

TASK_FILE = """
import numpy as np
import torch
from hasten import Data, Task

class Net(torch.nn.Module):
    # as in many a tutorial: its `view` fails on a tensor in channels-last order
    def __init__(self):
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(1, 8, 3), torch.nn.Linear(288, 4)

    def forward(self, image):
        x = torch.relu(self.conv(image))
        return self.head(x.view(x.shape[0], -1))

def build():
    torch.manual_seed(0)
    return Net()

def data(seed):
    def load():
        x = np.random.default_rng(seed).normal(size=(200, 1, 8, 8)).astype(np.float32)
        with torch.inference_mode():
            return Data({"image": x}, build()(torch.from_numpy(x)).argmax(1).numpy())
    return load

task = Task("linear", build, "top1", calibrate=data(1), validate=data(2), test=data(3))
"""


@pytest.fixture(scope="module")
def bare(tiny_onnx_task: Task) -> Task:
    """Without calibration data: static INT8 cannot be made, so that little is left to measure."""
    return replace(tiny_onnx_task, calibrate=None)


@pytest.fixture(scope="module")
def result(tiny_onnx_task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    out = tmp_path_factory.mktemp("boost") / "out"
    return boost(tiny_onnx_task, out, QUICK, engines=["onnxruntime"], recipes=RECIPES, command="hasten boost"), out


def test_the_result_is_as_documented(result: tuple[dict[str, object], Path]) -> None:
    found, out = result
    jsonschema.validate(found, SCHEMA)
    assert json.loads((out.with_name("out.trials") / "result.json").read_text()) == found
    recipes = {t["recipe"] for t in found["trials"]}
    assert set(RECIPES) <= recipes
    int8 = next(t for t in found["trials"] if t["recipe"] == RECIPES[1])
    assert int8["precision"] == "int8"
    assert int8["int8_share"] > 0
    baseline = found["baselines"][0]
    assert baseline["recipe"] == "as it is"
    assert baseline["accuracy_drop"] == 0
    assert baseline["macs"] == 8 * 8 * 8 * 9 + 8 * 8 * 16 * 8 * 9 + 64 * 4
    for row in (*found["baselines"], *found["trials"]):
        if row["status"] != "failed":
            assert row["latency_p50_ms"] > 0
            assert row["latency_p50_ms"] <= row["latency_p90_ms"]
            assert row["peak_memory_mb"] > 1
            assert row["n_samples"] == 200


def test_what_won_is_what_is_shipped(result: tuple[dict[str, object], Path], tiny_onnx_task: Task) -> None:
    found, out = result
    if found["winner"] is None:  # so small a network may gain nothing: then nothing is shipped
        assert not out.exists()
        assert found["verdict"]
        return
    with Bundle.load(out) as bundle:
        assert bundle.recipe == found["winner"]["recipe"]
        test = tiny_onnx_task.split("test")
        decisions = np.array(bundle.answer(test.inputs)).ravel()
        assert (decisions == test.target).mean() == pytest.approx(found["winner"]["accuracy"])


def test_a_finished_run_is_replaced_and_trials_do_not_repeat(bare: Task, tmp_path: Path) -> None:
    """The second call resumes: every trial comes from the store, as its count of starts shows."""
    out = tmp_path / "out"
    for resume in (False, True):
        boost(bare, out, QUICK, engines=["onnxruntime"], recipes=["simplify"], resume=resume)
    with sqlite3.connect(tmp_path / "out.trials" / "trials.sqlite") as store:
        assert {started for (started,) in store.execute("select started from trials where status != 'failed'")} == {1}


def test_the_first_door_starts_from_eager_torch(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK_FILE)
    task = Task.load(tmp_path / "task.py")
    found = boost(task, tmp_path / "out", Budget(latency_ms=1000), engines=["onnxruntime"])
    jsonschema.validate(found, SCHEMA)
    assert found["baselines"][0]["engine"].startswith("torch")
    assert "no more is needed" in found["verdict"]
    (lost,) = found["trials"]  # one way of eager torch cannot run it, and the other does
    assert lost["engine"].startswith("torch(memory_format=channels_last")
    assert (lost["status"], "view" in lost["reason"]) == ("failed", True)
    assert found["winner"]["engine"].startswith("onnxruntime")
    assert found["winner"]["accuracy"] == 1.0
    with Bundle.load(tmp_path / "out") as bundle:
        assert bundle.recipe == "as it is"


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(max_drop=1, speedup=1000), "1000x was asked for"),
        (Budget(max_drop=1, latency_ms=1e-6), "1e-06 ms was asked"),
    ],
)
def test_a_budget_that_is_not_met_is_a_no(bare: Task, tmp_path: Path, budget: Budget, words: str) -> None:
    found = boost(bare, tmp_path / "out", budget, engines=["onnxruntime"], recipes=["simplify"])
    assert found["winner"] is None
    assert words in found["verdict"]
    assert not (tmp_path / "out").exists()


def test_time_that_is_up_leaves_the_rest_pending(bare: Task, tmp_path: Path) -> None:
    found = boost(bare, tmp_path / "out", Budget(time_s=1), engines=["onnxruntime"])
    assert {t["status"] for t in found["trials"]} == {"pending"}
    assert all("time" in t["reason"] for t in found["trials"])


def test_usage_and_input_are_refused_before_anything_is_written(tiny_onnx_task: Task, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'onnxruntime'"):
        boost(tiny_onnx_task, tmp_path / "out", engines=["onxruntime"])
    with pytest.raises(UsageError, match="no technique is called"):
        boost(tiny_onnx_task, tmp_path / "out", recipes=["simplyfi"])
    with pytest.raises(MissingError, match="no engine that runs ONNX"):
        boost(tiny_onnx_task, tmp_path / "out", engines=["torch"])
    bad = Task(
        "bad",
        tiny_onnx_task.model,
        "top1",
        validate=Data({"image": np.full((2, 1, 8, 8), np.nan, np.float32)}, np.zeros(2, int)),
    )
    with pytest.raises(InputError, match="not finite"):
        boost(bad, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not a bundle"):
        boost(tiny_onnx_task, tmp_path / "full")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_what_loses_too_much_is_followed_by_milder_settings(
    tiny_onnx_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be proven to lose so little with 200 samples; where something is kept, nothing milder can win."""
    monkeypatch.setattr(Workshop, "variants", lambda self: [])
    full, milder = "quantize(method=placed)", [f"quantize(method=placed, spare={share})" for share in (0.1, 0.25, 0.5)]
    for budget, expected in ((Budget(max_drop=1e-6), [full, *milder]), (Budget(max_drop=0.5), [full])):
        found = boost(tiny_onnx_task, tmp_path / "out", budget, engines=["onnxruntime"], recipes=[full])
        assert [t["recipe"] for t in found["trials"]] == expected


def test_what_is_quantized_already_is_recognised(tiny_onnx_task: Task, tmp_path: Path) -> None:
    class Notes(Silent):
        said: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.said.append(text)

    model = tiny_onnx_task.original
    assert isinstance(model, OnnxModel)
    int8 = Quantize(method="placed")(model, tiny_onnx_task).save(tmp_path / "int8.onnx")
    task = replace(tiny_onnx_task, model=int8.path)
    found = boost(task, tmp_path / "out", Budget(max_drop=0.5), engines=["onnxruntime"], progress=Notes())
    assert "not quantized again; layers that run in INT8: 100% on onnxruntime" in Notes.said[0]
    assert found["baselines"][0]["precision"] == "int8"
    assert not any("quantize" in t["recipe"] for t in found["trials"])
    assert all(t["speedup"] for t in found["trials"] if t["status"] == "kept")  # there is something to race against


RUN = """
import sys
from pathlib import Path
from hasten import Budget, boost
from hasten.task import Task
model, data, out, resume = sys.argv[1:]
task = Task.of_files(model, "top1", validate=data, test=data)
boost(task, out, Budget(max_drop=0.05), engines=["onnxruntime"], recipes=["simplify"], resume=resume == "resume")
"""


def test_killed_and_resumed(tiny_onnx: Path, tiny_task: Task, tmp_path: Path) -> None:
    """kill -9 as soon as one trial has ended: it is not run again, and the run comes to its end."""
    split = tiny_task.split("validate")
    np.savez(tmp_path / "data.npz", target=split.target, **split.inputs)
    arguments = [str(tiny_onnx), str(tmp_path / "data.npz"), str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", RUN, *arguments, "anew"])
    path = tmp_path / "out.trials" / "trials.sqlite"
    deadline = time.monotonic() + 120
    while not _ended(path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = subprocess.run(
        [sys.executable, "-c", RUN, *arguments, "anew"], capture_output=True, text=True, check=False
    )
    assert "another run is at work" in second.stderr
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = _ended(path)
    third = subprocess.run([sys.executable, "-c", RUN, *arguments, "anew"], capture_output=True, text=True, check=False)
    assert "add --resume" in third.stderr
    subprocess.run([sys.executable, "-c", RUN, *arguments, "resume"], check=True)
    after = _ended(path)
    assert {key: after[key] for key in before} == before


def _ended(path: Path) -> dict[str, int]:
    """Key -> how often it was started, of the trials that have ended."""
    if not path.exists():
        return {}
    with sqlite3.connect(path, timeout=10) as store:
        try:
            return dict(store.execute("select key, started from trials where status != 'pending'"))
        except sqlite3.OperationalError:
            return {}
