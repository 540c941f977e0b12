"""OpenVINO: that what is asked for is what runs, and that nothing is written or sent."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from hasten.engine import Session
from hasten.engines import openvino as engine
from hasten.engines.openvino import OpenVino
from hasten.errors import InputError
from hasten.measure import machine
from hasten.model import OnnxModel

CAPABILITIES = engine.load().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def model(nodes: list, x: tuple, y: tuple, **weights: np.ndarray) -> OnnxModel:
    sides = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, s)] for name, s in (("x", x), ("y", y)))
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", *sides, stored)
    return OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def product() -> OnnxModel:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], ("N", 64), ("N", 64), w=weight)


def weights_in_bytes() -> OnnxModel:
    """Only the weights are INT8: the product itself is in floats."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]), helper.make_node("MatMul", ["x", "wd"], ["y"]),
    ]  # fmt: skip
    weight = np.random.default_rng(0).integers(-127, 127, (64, 64)).astype(np.int8)
    return model(nodes, ("N", 64), ("N", 64), w=weight, s=np.float32(0.01), z=np.int8(0))


def attention() -> OnnxModel:
    """Softmax of a product, times the input: fused into one subgraph. The sums around it are a subgraph without one."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["k"], "turn", perm=[0, 1, 3, 2]), node("MatMul", ["x", "k"], ["xk"], "scores"),
        node("Softmax", ["xk"], ["p"], "softmax", axis=-1), node("MatMul", ["p", "x"], ["o"], "mix"),
        node("Exp", ["o"], ["e"], "exp"), node("Add", ["e", "o"], ["a"], "add"), node("Tanh", ["a"], ["h"], "tanh"),
        node("Mul", ["h", "a"], ["y"], "gate"),
    ]  # fmt: skip
    return model(nodes, (1, 4, 16, 32), (1, 4, 16, 32))


def convolution() -> OnnxModel:
    """A convolution between Q and DQ."""
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "zu"], ["xq"]), node("DequantizeLinear", ["xq", "s", "zu"], ["xd"]),
        node("DequantizeLinear", ["w", "s", "zs"], ["wd"]), node("Conv", ["xd", "wd"], ["c"], pads=[1] * 4),
        node("QuantizeLinear", ["c", "s", "zu"], ["cq"]), node("DequantizeLinear", ["cq", "s", "zu"], ["y"]),
    ]  # fmt: skip
    weight, shape = np.random.default_rng(0).integers(-127, 127, (8, 8, 3, 3)).astype(np.int8), ("N", 8, 8, 8)
    return model(nodes, shape, shape, w=weight, s=np.float32(0.02), zu=np.uint8(128), zs=np.int8(0))


def heavy(session: Session) -> list[tuple[str, str]]:
    return [(layer.op, layer.precision) for layer in session.compiled.layers() if layer.heavy]


def test_settings_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenVino(threads=2, streams=2, hint="f32").compile(product()) as session:
        compiled = session.compiled._compiled
        asked = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "EXECUTION_MODE_HINT", "PERFORMANCE_HINT")
        said = [str(compiled.get_property(name)) for name in asked]
        assert said == ["2", "2", "ExecutionMode.PERFORMANCE", "LATENCY"]
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    monkeypatch.setattr(machine, "threads", lambda: 1)
    with OpenVino().compile(product()) as session:
        assert session.compiled._compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_default_is_f32_and_bf16_has_to_be_asked_for() -> None:
    x = {"x": np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)}
    with OpenVino().compile(product()) as session:
        assert heavy(session) == [("FullyConnected", "f32")]
        exact = session(x)["y"]
    if "BF16" not in CAPABILITIES:
        pytest.skip("this CPU has no bf16")
    with OpenVino(hint="bf16").compile(product()) as session:
        assert heavy(session) == [("FullyConnected", "bf16")]
        error = np.abs(session(x)["y"] - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 3e-2, "8 bits of mantissa are seen in the answer"


def test_bf16_is_worth_trying_only_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, hints in ((True, {"f32", "bf16"}), (False, {"f32"})):
        monkeypatch.setattr(engine, "_has_bf16", lambda has=has: has)
        assert {v.hint for v in OpenVino.variants(False)} == hints
        assert {v.transforms for v in OpenVino.variants(False)} == {True}
        found = {(v.hint, v.transforms) for v in OpenVino.variants(True)}
        assert found == {(h, True) for h in hints} | {("f32", False)}
    monkeypatch.undo()
    assert engine._has_bf16() == ("BF16" in CAPABILITIES)


def test_low_precision_transforms_can_be_turned_off() -> None:
    for transforms, expected in ((True, "i8"), (False, "f32")):
        with OpenVino(transforms=transforms).compile(convolution()) as session:
            assert heavy(session) == [("Convolution", expected)]


def test_weights_in_bytes_are_not_counted_as_int8() -> None:
    with OpenVino().compile(weights_in_bytes()) as session:
        assert heavy(session) == [("FullyConnected", "f32")]
        session({"x": np.ones((1, 64), np.float32)})
        assert heavy(session) == [("FullyConnected", "f32")], "nor after the kernel is chosen"


def test_fused_attention_is_heavy_and_a_fused_sum_is_not() -> None:
    with OpenVino().compile(attention()) as session:
        layers = [layer for layer in session.compiled.layers() if layer.op == "Subgraph" or layer.heavy]
    assert {layer.op for layer in layers} == {"Subgraph"}
    assert sorted({layer.heavy for layer in layers}) == [False, True]
    assert sum(layer.heavy for layer in layers) == 1


def test_refusal_names_the_operator() -> None:
    odd = model([helper.make_node("Frobnicate", ["x"], ["y"], domain="nobody")], (1,), (1,))
    odd.proto.opset_import.add(domain="nobody", version=1)
    with pytest.raises(
        InputError, match=r"^openvino refuses the model: No conversion rule found .*nobody\.Frobnicate; try"
    ):
        OpenVino().compile(odd)


def test_nothing_is_written_or_sent(tmp_path: Path) -> None:
    """A fresh home and an empty folder stay empty; telemetry would begin with a file in the home."""
    script = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[1])\n"
        "from test_openvino import OpenVino, product\n"
        "with OpenVino(threads=1).compile(product()) as s: s({'x': np.ones((1, 64), np.float32)})\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m]]"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")}
    subprocess.run(
        [sys.executable, "-B", "-c", script, str(Path(__file__).parent)], check=True, cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert list(tmp_path.rglob("*")) == []
