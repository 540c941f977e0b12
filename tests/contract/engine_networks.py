"""Three small networks, each as a torch module and as a graph, for the contracts of engines."""

import re
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hasten.model import Arrays, Model, OnnxModel, Signature, TorchModel


def graph(nodes: list[onnx.NodeProto], signature: Signature, opset: int = 17, **weights: np.ndarray) -> OnnxModel:
    """A checked ONNX model."""
    make = helper.make_tensor_value_info
    sides = (
        [make(t.name, helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape) for t in side]
        for side in (signature.inputs, signature.outputs)
    )
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    proto = helper.make_model(
        helper.make_graph(nodes, "graph", *sides, stored), opset_imports=[helper.make_opsetid("", opset)], ir_version=9
    )
    onnx.checker.check_model(proto, full_check=True)
    return OnnxModel(proto)


def signature(inputs: str, outputs: str) -> Signature:
    """`name:dtype[N,3], ...` on both sides."""

    def side(text: str) -> list[dict[str, Any]]:
        parts = re.findall(r"(\w+):(\w+)\[([^\]]*)\]", text)
        return [
            {"name": n, "dtype": d, "shape": [int(a) if a.isdigit() else a for a in s.split(",") if a]}
            for n, d, s in parts
        ]

    return Signature.from_json({"inputs": side(inputs), "outputs": side(outputs)})


MIXED = signature(
    "image:float32[N,3,4], ids:int64[N,2]",
    "mean:float32[N], positive:bool[N], next:int64[N,2], total:float32[], same:float32[N,3,4], again:float32[N]",
)


def mixed_oracle(feed: Arrays) -> dict[str, np.ndarray]:
    """Floats, integers, booleans, a scalar, an input that comes out again, and one value under two names."""
    mean = feed["image"].mean((1, 2))
    return {
        "mean": mean, "positive": mean > 0, "next": feed["ids"] + 1, "total": np.asarray(mean.sum()),
        "same": feed["image"], "again": mean,
    }  # fmt: skip


def mixed(takes: str) -> Model:
    if takes == "onnx":
        node = helper.make_node
        nodes = [
            node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
            node("Greater", ["mean", "zero"], ["positive"]), node("Add", ["ids", "one"], ["next"]),
            node("ReduceSum", ["mean"], ["total"], keepdims=0),
            node("Identity", ["image"], ["same"]), node("Identity", ["mean"], ["again"]),
        ]  # fmt: skip
        return graph(nodes, MIXED, zero=np.float32(0), one=np.int64(1))
    import torch

    class Mixed(torch.nn.Module):
        def forward(self, image: "torch.Tensor", ids: "torch.Tensor") -> "dict[str, torch.Tensor]":
            mean = image.mean((1, 2))
            return {
                "mean": mean, "positive": mean > 0, "next": ids + 1, "total": mean.sum(), "same": image, "again": mean,
            }  # fmt: skip

    return TorchModel(Mixed(), MIXED)


FIXED = signature("x:float32[2,4]", "output:float32[2,3]")
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3) / 12


def fixed(takes: str) -> Model:
    """Two samples a call, no more and no fewer."""
    if takes == "onnx":
        return graph([helper.make_node("MatMul", ["x", "w"], ["output"])], FIXED, w=WEIGHT)
    import torch

    linear = torch.nn.Linear(4, 3, bias=False)
    linear.weight.data = torch.from_numpy(WEIGHT.T.copy())
    return TorchModel(linear, FIXED)


def quantized() -> OnnxModel:
    """One convolution between Q and DQ, scales and zero points as every engine fuses them."""
    node, rng = helper.make_node, np.random.default_rng(0)
    nodes = [
        node("QuantizeLinear", ["x", "sx", "zu"], ["xq"]), node("DequantizeLinear", ["xq", "sx", "zu"], ["xd"]),
        node("DequantizeLinear", ["w", "sw", "zs"], ["wd"]), node("Conv", ["xd", "wd"], ["c"], pads=[1] * 4),
        node("QuantizeLinear", ["c", "sy", "zu"], ["cq"]), node("DequantizeLinear", ["cq", "sy", "zu"], ["y"]),
    ]  # fmt: skip
    weight = rng.integers(-127, 127, (8, 8, 3, 3)).astype(np.int8)
    scales = {"sx": np.float32(0.02), "sw": np.float32(0.01), "sy": np.float32(0.1)}
    zeros = {"zu": np.uint8(128), "zs": np.int8(0)}
    return graph(nodes, signature("x:float32[N,8,8,8]", "y:float32[N,8,8,8]"), 19, w=weight, **scales, **zeros)


def mixed_feed(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"image": rng.normal(size=(n, 3, 4)).astype(np.float32), "ids": rng.integers(0, 9, (n, 2))}
