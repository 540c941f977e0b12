"""The folder of a board: the network in an older opset, the scales of its INT8, the scripts that go with it."""

import json
import os
import re
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from graphs import model
from onnx import helper
from tiny import tiny_data
from torch import nn

from hasten import find
from hasten.boards import _calibration
from hasten.boards._opset import largest_difference, lowered, with_batch
from hasten.boards._script import VERIFY
from hasten.data import Data
from hasten.errors import InputError, UsageError
from hasten.export import export
from hasten.graph.quantize import Quantize
from hasten.model import OnnxModel
from hasten.task import Task

BOARDS = sorted(find.boards())


class Net(nn.Module):
    """A skip, a pooling, a Gelu, a mean over axes: what has changed between opsets."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.wide, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        x = nn.functional.max_pool2d(torch.relu(x + self.deep(x)), 2)
        return self.head(nn.functional.gelu(self.wide(x)).mean((2, 3)))


@cache
def made() -> tuple[Task, OnnxModel, OnnxModel]:
    torch.manual_seed(0)
    net = Net().eval()
    task = Task("net", lambda: net, "agreement", calibrate=tiny_data(64, 2), validate=tiny_data(64, 3))
    plain = export(task.original, task.sample()).model
    return task, plain, Quantize(method="placed", engine="tensorrt")(plain, task)


@pytest.fixture(scope="module", params=BOARDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("board") / "net"
    find.board(request.param)().write(made()[2], made()[0].sample(), path)
    return request.param, path


# ---- the network ----


@pytest.mark.parametrize("quantized", [False, True])
def test_an_older_opset_gives_the_same_numbers(quantized: bool) -> None:
    task, plain, int8 = made()
    before = int8 if quantized else plain
    assert before.opset > 17
    after = lowered(before, 17, 8, task.sample())
    assert (after.opset, after.proto.ir_version) == (17, 8)
    assert "Gelu" not in {n.op_type for n in after.proto.graph.node}
    assert largest_difference(before, after, task.sample()) < 1e-5
    assert lowered(before, 20, 10, task.sample()).opset == 20


def test_an_operator_without_an_older_form_is_named() -> None:
    nodes = [helper.make_node("GridSample", ["x", "g"], ["y"], mode="cubic")]
    graph = model(nodes, {"x": (1, 1, 4, 4), "g": (1, 2, 2, 2)}, {"y": (1, 1, 2, 2)}, {}, opset=20)
    data = Data({"x": np.ones((1, 1, 4, 4), np.float32), "g": np.zeros((1, 2, 2, 2), np.float32)})
    with pytest.raises(InputError, match="cannot be written in opset 15"):
        lowered(OnnxModel(graph), 15, 8, data)


def test_both_forms_of_gelu(tmp_path: Path) -> None:
    for form in ("none", "tanh"):
        node = helper.make_node("Gelu", ["x"], ["y"], approximate=form)
        graph = model([node], {"x": (1, 9)}, {"y": (1, 9)}, {}, opset=20)
        data = Data({"x": np.linspace(-4, 4, 9, dtype=np.float32)[None]})
        assert lowered(OnnxModel(graph), 17, 8, data).opset == 17


def test_a_free_axis_beside_the_batch_is_refused() -> None:
    graph = model([helper.make_node("Relu", ["x"], ["y"])], {"x": ("N", 3, "W")}, {"y": ("N", 3, "W")}, {})
    with pytest.raises(InputError, match="axis 2 of 'x' is free"):
        with_batch(graph, 1)


# ---- INT8 as TensorRT 8 reads it ----


def test_scales_are_those_of_q_and_weights_those_of_the_file() -> None:
    task, _, int8 = made()
    bare = _calibration.unquantized(int8)
    assert not bare.model.quantized
    values = {w.name: onnx.numpy_helper.to_array(w) for w in int8.proto.graph.initializer}
    pairs = [n for n in int8.proto.graph.node if n.op_type == "QuantizeLinear"]
    assert bare.scales == {n.input[0]: float(values[n.input[1]]) for n in pairs}
    assert largest_difference(int8, bare.model, task.sample()) < 0.05, "what Q rounds is all that it differs by"


def test_every_tensor_has_a_scale_and_it_is_known_whence() -> None:
    task, _, int8 = made()
    bare = _calibration.unquantized(OnnxModel(with_batch(int8.proto, 1)))
    scales, measured = _calibration.every_scale(bare, task.sample().take(slice(0, 16)))
    made_by = {t: n for n in bare.model.proto.graph.node for t in n.output}
    relu = next(n for n in bare.model.proto.graph.node if n.op_type == "Relu")
    assert scales[relu.input[0]] == scales[relu.output[0]] == bare.scales[relu.output[0]]
    assert {made_by[t].op_type for t in measured} >= {"Gemm"}
    assert not set(measured) & set(bare.scales)
    assert set(scales) == {"image", *made_by}
    assert all(s > 0 for s in scales.values())


def test_the_cache_is_as_tensorrt_writes_it() -> None:
    """data: 1/127, as in NVIDIA's own example, 3c010a14."""
    assert _calibration.cache({"data": 1 / 127}, "8502") == "TRT-8502-EntropyCalibration2\ndata: 3c010204\n"
    ((name, digits),) = re.findall(r"^(\S+): (\w{8})$", _calibration.cache({"x": 0.5}, "1"), re.MULTILINE)
    assert (name, struct.unpack(">f", bytes.fromhex(digits))[0]) == ("x", 0.5)


def test_what_no_cache_can_say_is_refused() -> None:
    task, plain, _ = made()
    asymmetric = Quantize(method="placed")(plain, task)
    with pytest.raises(InputError, match="not int8 around zero"):
        _calibration.unquantized(asymmetric)
    with pytest.raises(InputError, match="engine=tensorrt"):
        find.board("jetson-xavier")().write(asymmetric, task.sample(), Path("never"))
    assert not Path("never").exists()


# ---- the folder ----


def test_the_folder_is_whole(folder: tuple[str, Path]) -> None:
    name, path = folder
    board, about = find.board(name), json.loads((path / "board.json").read_text())
    for file in ("model.onnx", "model-int8.onnx"):
        graph = OnnxModel.load(path / file)
        assert graph.opset <= board.opset
        assert graph.signature.fixed_batch == 1
        assert graph.quantized == ("int8" in file)
    assert (path / "calibration.cache").read_text().startswith(f"TRT-{board.tensorrt}-EntropyCalibration2\n")
    assert about["caveat"] == "not verified on hardware"
    assert "not verified on hardware" in (path / "README.txt").read_text()
    assert len(list((path / "golden").iterdir())) == 2 * about["cases"] == 16
    assert len([n for n in about["engines"] if n.startswith("dla")]) == 2 * board.dla
    assert not list(path.parent.glob(".*"))


TRTEXEC = """#!/bin/sh
echo "$@" >> calls
for w; do case $w in --saveEngine=*) echo engine > "${w#--saveEngine=}" ;; esac; done
case "$*" in *useDLACore=1*) exit 1 ;; esac
"""


@pytest.mark.parametrize("version", ["8.5.2.2", "10.3.0", "11.4.1"])
def test_the_script_builds_each_engine(folder: tuple[str, Path], version: str, tmp_path: Path) -> None:
    """With a trtexec that writes down what it is asked, and fails on the second DLA."""
    _, path = folder
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "trtexec").write_text(TRTEXEC)
    (tmp_path / "bin" / "trtexec").chmod(0o755)
    (tmp_path / "tensorrt.py").write_text(f"__version__ = {version!r}\n")
    (path / "calls").unlink(missing_ok=True)
    places = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": places, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run([path / "build.sh"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "dla1-int8: not built, see dla1-int8.log" in ended.stdout
    assert "gpu-int8: gpu-int8.engine" in ended.stdout
    calls = (path / "calls").read_text().splitlines()
    assert len(calls) == len(json.loads((path / "board.json").read_text())["engines"])
    stamp = {"8": "8502", "1": "100300" if version[:2] == "10" else "110401"}[version[0]]
    assert (path / "calibration.cache").read_text().startswith(f"TRT-{stamp}-")
    dla = next(c for c in calls if "dla0-int8" in c)
    if version.startswith("11"):
        assert not any(re.search("--(fp16|int8|calib)", c) for c in calls)
        assert "--onnx=model-int8.onnx" in dla
    else:
        assert "--onnx=model.onnx" in dla
        assert "--int8 --fp16 --calib=calibration.cache --useDLACore=0 --allowGPUFallback" in dla


def verifier(path: Path) -> ModuleType:
    module = ModuleType("verify")
    module.__file__ = str(path / "verify.py")
    exec(compile(VERIFY, module.__file__, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("file", "wrong", "passed"), [("model.onnx", 0, 0), ("model-int8.onnx", 0, 0), ("model.onnx", 9, 1)]
)
def test_the_verifier_tells_right_from_wrong(
    folder: tuple[str, Path], file: str, wrong: float, passed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ONNX Runtime in the place of the board's engine."""
    _, path = folder

    def run(engine: str, feeds: list[dict], outputs: list[str]) -> list[dict]:
        with find.engine("onnxruntime")(threads=1).compile(OnnxModel.load(path / file)) as session:
            answers = [session(f) for f in feeds]
        return [{k: v + wrong * (np.arange(v.size).reshape(v.shape) % 2) for k, v in a.items()} for a in answers]

    (path / "some.engine").write_text("")
    assert verifier(path).main([str(path / "some.engine")], run) == passed
    said = capsys.readouterr().out
    assert said.startswith("NO " if passed else "yes")
    assert verifier(path).main([str(path / "lost.engine")], run) == 1


def test_an_unknown_board_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'jetson-orin'"):
        find.board("jetson-orion")


def test_every_line_of_verify_runs_on_an_old_python() -> None:
    """JetPack 5 has Python 3.8."""
    compile(VERIFY, "verify.py", "exec", flags=0, dont_inherit=True)
    import ast

    ast.parse(VERIFY, feature_version=(3, 8))
