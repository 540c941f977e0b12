"""hasten check, from the command line: a row a node with the user's module, an exit code, a sentence for bad input."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import model, network
from onnx import helper

from hasten.cli import main
from hasten.diagnose import support
from hasten.diagnose.support import instead, targets
from hasten.manifest import schema, validate
from hasten.model import OnnxModel
from hasten.report.support import support_tables
from single_ops import models

ROOT = Path(__file__).parents[2]


def call(*words: object) -> int:
    return main(["check", *map(str, words)])


def checked(tmp_path: Path, *words: object) -> tuple[int, dict[str, Any]]:
    code = call(*words, "--json", tmp_path / "r.json")
    found: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    validate(found, "check", tmp_path)
    return code, found


def saved(made: Any, path: Path) -> Path:
    OnnxModel(made).save(path)
    return path


def test_there_are_these_targets() -> None:
    assert set(targets()) == {"dla", "onnxruntime", "openvino", "tensorrt"}
    assert schema("check")["properties"]["target"]["enum"] == sorted(targets())
    assert schema("check")["$defs"]["node"]["properties"]["word"]["enum"] == list(support.WORDS)


@pytest.mark.parametrize("target", sorted(["onnxruntime", "openvino", "tensorrt"]))
def test_what_is_native_is_accepted(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = checked(tmp_path, saved(network(), tmp_path / "m.onnx"), "--target", target)
    assert code == 0
    assert found["accepted"]
    assert [row["op"] for row in found["nodes"]] == ["Conv", "Relu", "Flatten", "Gemm", "ArgMax"]
    assert found["counts"] == {"native": 5, "falls back": 0, "refused": 0, "unknown": 0}
    said = {"onnxruntime": "ONNX Runtime 1", "openvino": "OpenVINO 2", "tensorrt": "accepted by TensorRT-RTX 1."}
    assert found["said"].startswith(said[target])
    assert "of 5 nodes 5 native" in capsys.readouterr().out


def test_a_node_that_is_refused_is_named_with_what_to_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models()["resize-antialias"].save(tmp_path / "m.onnx").path
    code, found = checked(tmp_path, path, "--target", "openvino")
    assert code == 1
    assert found["nodes"][0]["word"] == "refused"
    assert "ignores the attribute antialias" in found["nodes"][0]["why"]
    assert "without antialias" in found["nodes"][0]["instead"]
    assert "openvino refuses 1 of its nodes" in capsys.readouterr().err


def test_a_file_that_onnx_runtime_refuses_is_answered_not_turned_away(tmp_path: Path) -> None:
    path = models()["conv-double"].save(tmp_path / "m.onnx").path
    code, found = checked(tmp_path, path, "--target", "onnxruntime")
    assert code == 1
    assert found["nodes"][0]["why"].startswith("Could not find an implementation for Conv")


TASK = """
import numpy as np
from torch import nn

from hasten import Data, Task


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU())

    def forward(self, image):
        return self.body(image).mean((2, 3))


task = Task("net", Net, "agreement", validate=lambda: Data({"image": np.ones((4, 2, 8, 8), np.float32)}))
"""


def test_a_task_is_checked_with_its_modules(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(TASK)
    code, found = checked(tmp_path, tmp_path / "task.py", "--target", "dla")
    assert code == 0  # what the DLA does not take falls back to the GPU
    assert found["estimate"]
    words = {
        row["module"]: row["word"] for row in found["nodes"] if row["op"] in ("Conv", "Relu", "InstanceNormalization")
    }
    assert words == {"body.0": "native", "body.1": "falls back", "body.2": "native"}
    assert found["figures"]["macs_share"] == 1
    assert found["figures"]["loadables"] == 2


def test_a_bundle_is_checked(tmp_path: Path) -> None:
    code, found = checked(tmp_path, ROOT / "spec" / "golden" / "int8", "--target", "onnxruntime")
    assert (code, len(found["nodes"])) == (0, 6)


def test_the_whole_is_built_ahead_of_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = checked(tmp_path, saved(network(), tmp_path / "m.onnx"), "--target", "tensorrt", "--build")
    assert code == 0
    assert found["figures"]["engine_mb"] > 0.01
    assert "built ahead of time, without a GPU" in capsys.readouterr().out


def test_another_provider_may_leave_nodes_to_the_cpu(tmp_path: Path) -> None:
    path = saved(network(), tmp_path / "m.onnx")
    words = path, "--target", "onnxruntime", "--provider"
    code, found = checked(tmp_path, *words, "AzureExecutionProvider")
    assert code == 0
    assert found["counts"]["falls back"] == 5
    assert found["nodes"][0]["why"] == "AzureExecutionProvider does not take it: it runs in CPUExecutionProvider"
    assert call(*words, "NoExecutionProvider") == 5


def test_what_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(network(), tmp_path / "m.onnx")
    (tmp_path / "no.onnx").write_text("this is no model")
    assert call(tmp_path / "no.onnx", "--target", "dla") == 3
    assert call(tmp_path / "gone.onnx", "--target", "dla") == 3
    assert call(path) == 2
    assert call(path, "--target", "opnvino") == 2
    assert call(path, "--target", "dla", "--build") == 2
    assert call(path, "--target", "openvino", "--provider", "CPUExecutionProvider") == 2
    assert call(ROOT / "spec" / "golden" / "video", "--target", "dla") == 3
    errors = capsys.readouterr().err
    assert "did you mean 'openvino'?" in errors
    assert "--build is for tensorrt" in errors
    assert "Traceback" not in errors


def test_a_target_that_is_not_here_says_what_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hasten.engines._rtx.PACKAGE", "no_such_package")
    assert call(saved(network(), tmp_path / "m.onnx"), "--target", "tensorrt") == 5
    assert "pip install 'hasten[tensorrt]'" in capsys.readouterr().err


def test_what_to_use_instead_depends_on_the_target() -> None:
    assert instead("Gelu", "dla", "native") == ""
    assert instead("Gelu", "dla", "falls back") != instead("Gelu", "tensorrt", "refused") != ""
    assert instead("NoSuchOperator", "dla", "refused") == ""


def test_the_parser_alone_does_not_tell_what_is_refused_in_the_whole(tmp_path: Path) -> None:
    """Two nodes that are fine alone, of which one may not stand behind the other: the whole graph is asked, too."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        helper.make_node("Det", ["d"], ["y"], name="det"),
    ]
    weights = {"s": np.float32(0.1), "z": np.int8(0)}
    path = saved(model(nodes, {"x": (1, 4, 4)}, {"y": (1,)}, weights), tmp_path / "m.onnx")
    code, found = checked(tmp_path, path, "--target", "tensorrt")
    assert code == 1
    assert [row["word"] for row in found["nodes"]] == ["native", "native", "refused"]


def test_the_table_shows_every_node() -> None:
    from rich.console import Console

    row = {"node": "n", "op": "Gelu", "module": "body.act", "word": "falls back", "why": "because", "instead": "Relu"}
    counts = {"native": 0, "falls back": 1, "refused": 0, "unknown": 0}
    result = {
        "nodes": [row], "counts": counts, "figures": {"nodes_share": 0.5, "switches": 2}, "remarks": ["a remark"],
        "said": "DLA", "estimate": True,
    }  # fmt: skip
    console = Console(width=120, record=True, file=io.StringIO())
    for part in support_tables(result):
        console.print(part)
    shown = console.export_text()
    for said in ("body.act", "falls back", "because", "Relu", "nodes that it takes: 50", "GPU and DLA: 2", "a remark",
                 "(an estimate: nothing was run): of 1 nodes 1 fall back"):  # fmt: skip
        assert said in shown
