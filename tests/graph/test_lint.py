"""lint: each rule is what TensorRT-RTX does with a graph that breaks it, and with one that keeps it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hasten.engines import _rtx
from hasten.graph.lint import RULES, lint
from hasten.model import OnnxModel

node, f32 = helper.make_node, np.float32
RNG = np.random.default_rng(0)
W = RNG.integers(-127, 127, (8, 8, 3, 3)).astype(np.int8)
M = RNG.integers(-127, 127, (8, 16)).astype(np.int8)
BASE = {
    "s": f32(0.1), "s2": f32(0.05), "z": np.int8(0), "w": W, "ws": np.full(8, 0.01, f32), "wz": np.zeros(8, np.int8),
    "b": np.zeros(8, f32), "bq": np.zeros(8, np.int8), "bw": np.zeros(8, np.int32),
}  # fmt: skip


def qdq(name: str, scale: str = "s", zero: str = "z", **more: int) -> list[onnx.NodeProto]:
    """`name` -> `named`."""
    ends = [scale, zero] if zero else [scale]
    return [
        node("QuantizeLinear", [name, *ends], [f"{name}q"], name=f"{name}.Q", **more),
        node("DequantizeLinear", [f"{name}q", *ends], [f"{name}d"], name=f"{name}.DQ", **more),
    ]


def dq(name: str, scale: str = "ws", zero: str = "wz", **more: int) -> onnx.NodeProto:
    ends = [name, scale, zero] if zero else [name, scale]
    return node("DequantizeLinear", ends, [f"{name}d"], name=f"{name}.DQ", **{"axis": 0} | more)


def conv(x: str = "xd", w: str = "wd", b: str = "b", y: str = "y") -> onnx.NodeProto:
    return node("Conv", [x, w, b], [y], name=f"conv.{y}", pads=[1] * 4)


def graph(*parts, opset: int = 20, inputs=None, types=None, out: int = TensorProto.FLOAT, **weights) -> OnnxModel:
    nodes = [n for part in parts for n in (part if isinstance(part, list) else [part])]
    shapes, types = inputs or {"x": (1, 8, 8, 8)}, types or {}
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(k, types.get(k, TensorProto.FLOAT), s) for k, s in shapes.items()],
        [helper.make_tensor_value_info("y", out, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (BASE | weights).items() if uses(nodes, k)],
    )
    return OnnxModel(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10))


def uses(nodes: list[onnx.NodeProto], name: str) -> bool:
    return any(name in n.input for n in nodes)


def tail(skip: str) -> list[onnx.NodeProto]:
    """A convolution in INT8, and `skip` added to what it gives."""
    return [conv(y="c"), node("Add", ["c", skip], ["a"], name="add"), node("Relu", ["a"], ["y"])]


def joined(one: str, other: str) -> OnnxModel:
    heads = [*qdq("x"), dq("w"), conv(y="c"), conv(y="e"), *qdq("c", one), *qdq("e", other)]
    return graph(heads, node("Concat", ["cd", "ed"], ["y"], name="cat", axis=1))


def product(axis: int, scales: int, **more: int) -> OnnxModel:
    shape = (2, 16) if more else (scales,)
    return graph(
        qdq("x"), dq("m", "ms", "mz", axis=axis, **more), node("MatMul", ["xd", "md"], ["y"], name="product"),
        inputs={"x": (1, 4, 8)}, m=M, ms=np.full(shape, 0.1, f32), mz=np.zeros(shape, np.int8), opset=21,
    )  # fmt: skip


PLAIN = graph(qdq("x"), dq("w"), conv())
SIGNED = {"zu": np.uint8(0)}
HALF = {"ws": np.full(8, 0.01, np.float16)}
LINEAR = node("QLinearConv", ["xq", "s", "z", "w", "ws", "wz", "s2", "z"], ["cq"], name="linear", pads=[1] * 4)
# rule -> a graph that keeps it, and graphs that break it
CASES = {
    "constant scale": (
        graph(node("Mul", ["s", "s2"], ["sc"]), qdq("x", "sc"), dq("w"), conv()),
        (graph(node("ReduceMax", ["x"], ["sc"], keepdims=0), qdq("x", "sc"), dq("w"), conv()),
         graph(qdq("x", "sc"), dq("w"), conv(), inputs={"x": (1, 8, 8, 8), "sc": ()})),
    ),
    "constant zero point": (
        PLAIN,
        (graph(qdq("x", zero="zz"), dq("w"), conv(), inputs={"x": (1, 8, 8, 8), "zz": ()},
               types={"zz": TensorProto.INT8}),),
    ),
    "positive scale": (
        PLAIN,
        (graph(qdq("x"), dq("w"), conv(), s=f32(0)), graph(qdq("x"), dq("w"), conv(), s=f32(-1)),
         graph(qdq("x"), dq("w"), conv(), ws=np.array([0.1] * 7 + [0], f32)),
         graph(qdq("x"), dq("w"), conv(), s=f32("nan"))),
    ),
    "symmetric": (
        PLAIN,
        (graph(qdq("x"), dq("w"), conv(), z=np.int8(3)), graph(qdq("x", zero="zu"), dq("w"), conv(), zu=np.uint8(128)),
         graph(qdq("x"), dq("w"), conv(), wz=np.full(8, 1, np.int8))),
    ),
    "signed store": (
        graph(dq("x", "s", "z", axis=1), dq("w"), conv(), types={"x": TensorProto.INT8}),
        (graph(dq("x", "s", "zu", axis=1), dq("w"), conv(), types={"x": TensorProto.UINT8}, **SIGNED),
         graph(qdq("x"), dq("w"), conv(), w=W.astype(np.uint8), wz=np.zeros(8, np.uint8))),
    ),
    "8 bits": (
        PLAIN,
        (graph(qdq("x"), dq("w"), dq("bw", "ws", ""), conv(b="bwd")),
         graph(qdq("x", zero="zw"), dq("w"), conv(), zw=np.int16(0), opset=21)),
    ),
    "operators": (
        PLAIN,
        (graph(qdq("x")[0], LINEAR, node("DequantizeLinear", ["cq", "s2", "z"], ["y"])),
         graph(node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]), node("Identity", ["qs"], ["y"])),
         graph(qdq("x")[0], node("ConvInteger", ["xq", "w"], ["y"], pads=[1] * 4), out=TensorProto.INT32)),
    ),
    "one type": (PLAIN, (graph(qdq("x"), dq("w"), node("Conv", ["xd", "wd"], ["y"], pads=[1] * 4), **HALF),)),
    "whole channels": (product(1, 16), (product(0, 8, block_size=4),)),
    "signed": (
        PLAIN,
        (graph(qdq("x", zero="zu"), dq("w"), conv(), **SIGNED), graph(qdq("x", zero=""), dq("w"), conv())),
    ),
    "output channels": (
        product(1, 16),
        (product(0, 8), graph(qdq("x"), dq("w", axis=1), conv()),
         graph(qdq("x"), dq("w"), conv(), ws=f32(0.01), wz=np.int8(0))),
    ),
    "one scale": (
        PLAIN,
        (graph(qdq("x", "ss", "zz", axis=1), dq("w"), conv(), ss=np.full(8, 0.1, f32), zz=np.zeros(8, np.int8)),),
    ),
    "float bias": (PLAIN, (graph(qdq("x"), dq("w"), dq("bq", "ws", ""), conv(b="bqd")),)),
    "both branches": (graph(qdq("x"), dq("w"), tail("xd")), (graph(qdq("x"), dq("w"), tail("x")),)),
    "matched": (joined("s", "s"), (joined("s", "s2"),)),
}  # fmt: skip
here = pytest.mark.skipif(_rtx.missing() is not None, reason=str(_rtx.missing()))
BUILD = """
import sys
from hasten.engines import _rtx
opened = _rtx.opened()
taken = opened.parser.parse(open(sys.argv[1], "rb").read())
plan = taken and opened.builder.build_serialized_network(opened.network, opened.builder.create_builder_config())
layers = [opened.network.get_layer(i) for i in range(opened.network.num_layers)] if taken else []
kinds = {layer.get_output(0).dtype.name for layer in layers}
print("accepted" if plan else "refused", *kinds)
"""


def given(model: OnnxModel, folder: Path) -> str:
    """What a process that gives it to parser and builder prints; crash where it does not get so far."""
    path = model.save(folder / "m.onnx").path
    done = subprocess.run([sys.executable, "-c", BUILD, str(path)], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "crash"


def test_every_rule_has_a_case() -> None:
    assert [r.name for r in RULES] == list(CASES)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_the_rule_names_the_node(rule) -> None:
    kept, broken = CASES[rule.name]
    assert rule.name not in {f.rule for f in lint(kept)}
    for model in broken:
        found = [f for f in lint(model) if f.rule == rule.name]
        assert found
        assert all(f.node in {n.name or n.op_type for n in model.proto.graph.node} and f.what and f.mend for f in found)
        assert found[0].refused == (rule.seen in ("crash", "refused"))


@here
@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_that_is_what_comes_of_it(rule, tmp_path: Path) -> None:
    kept, broken = CASES[rule.name]
    assert given(kept, tmp_path).startswith("accepted")
    for model in broken:
        said = given(model, tmp_path).split()
        assert said[0] == ("accepted" if rule.seen == "numbers" else rule.seen)
        if rule.seen == "numbers":  # the file says uint8, and the network that was read has int8
            assert "INT8" in said
            assert "UINT8" not in said


def test_what_is_in_floats_breaks_none() -> None:
    assert lint(graph(conv("x", "f"), f=W.astype(f32))) == ()
