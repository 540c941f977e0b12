"""A deep network with random weights and every kind of layer that can be got wrong: convolutions, attention, resizes.

All of its nodes are named like the modules of a torch network, `blocks.3.conv1`. One block is 32 nodes.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten.model import OnnxModel

CHANNELS, SIDE, CLASSES = 16, 12, 10


class Deep:
    """The graph as it grows."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def normal(self, *shape: int, spread: float | None = None) -> str:
        return self.weight(self._rng.normal(0, spread or 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32))

    def weight(self, array: Any) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, name: str, op: str, *inputs: str, **settings: Any) -> str:
        made = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [made], name=name, **settings))
        return made

    def conv(self, name: str, value: str, given: int = CHANNELS, made: int = CHANNELS, side: int = 3) -> str:
        weights = self.normal(made, given, side, side), self.normal(made, spread=0.3)
        return self.node(name, "Conv", value, *weights, kernel_shape=[side, side], pads=[side // 2] * 4)

    def norm(self, name: str, value: str) -> str:
        scale, bias, mean = (self.normal(CHANNELS, spread=0.2) for _ in range(3))
        spread = self.weight(np.abs(self._rng.normal(0.5, 0.2, CHANNELS)).astype(np.float32))
        return self.node(name, "BatchNormalization", value, scale, bias, mean, spread, epsilon=1e-5)

    def residual(self, at: str, value: str) -> str:
        inner = self.node(f"{at}.act1", "Relu", self.norm(f"{at}.bn1", self.conv(f"{at}.conv1", value)))
        inner = self.norm(f"{at}.bn2", self.conv(f"{at}.conv2", inner))
        return self.node(f"{at}.act2", "Relu", self.node(f"{at}.add", "Add", inner, value))

    def gate(self, at: str, value: str) -> str:
        inner = self.conv(f"{at}.narrow", self.node(f"{at}.mean", "GlobalAveragePool", value), CHANNELS, 4, 1)
        inner = self.conv(f"{at}.widen", self.node(f"{at}.act3", "Relu", inner), 4, CHANNELS, 1)
        return self.node(f"{at}.gated", "Mul", value, self.node(f"{at}.sigmoid", "Sigmoid", inner))

    def zoom(self, at: str, value: str) -> str:
        twice = self.weight(np.array([1, 1, 2, 2], np.float32))
        large = self.node(
            f"{at}.up", "Resize", value, "", twice, mode="linear", coordinate_transformation_mode="half_pixel"
        )
        return self.node(f"{at}.down", "MaxPool", large, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def attention(self, at: str, value: str) -> str:
        flat = self.node(f"{at}.flat", "Reshape", value, self.weight(np.array([0, CHANNELS, SIDE * SIDE], np.int64)))
        rows = self.node(f"{at}.rows", "Transpose", flat, perm=[0, 2, 1])
        ends = self.weight(np.ones(CHANNELS, np.float32)), self.normal(CHANNELS, spread=0.1)
        norm = self.node(f"{at}.norm", "LayerNormalization", rows, *ends, axis=-1, epsilon=1e-5)
        query, key, seen = (
            self.node(f"{at}.{name}", "MatMul", norm, self.normal(CHANNELS, CHANNELS))
            for name in ("query", "key", "value")
        )
        scores = self.node(f"{at}.scores", "MatMul", query, self.node(f"{at}.turned", "Transpose", key, perm=[0, 2, 1]))
        scores = self.node(f"{at}.scaled", "Mul", scores, self.weight(np.float32(CHANNELS**-0.5)))
        mixed = self.node(f"{at}.mixed", "MatMul", self.node(f"{at}.softmax", "Softmax", scores, axis=-1), seen)
        out = self.node(f"{at}.out", "MatMul", mixed, self.normal(CHANNELS, CHANNELS))
        out = self.node(f"{at}.bias", "Add", out, self.normal(CHANNELS, spread=0.3))
        act = self.node(f"{at}.gelu", "Gelu", out)
        back = self.node(f"{at}.back", "Transpose", self.node(f"{at}.sum", "Add", act, rows), perm=[0, 2, 1])
        shape = self.weight(np.array([0, CHANNELS, SIDE, SIDE], np.int64))
        return self.node(f"{at}.square", "Reshape", back, shape)

    def model(self, value: str) -> OnnxModel:
        ends = {"x": ("N", 3, SIDE, SIDE), value: ("N", CLASSES)}
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in ends.items()]
        graph = helper.make_graph(self._nodes, "deep", infos[:1], infos[1:], self._weights)
        return OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))


def deep(blocks: int, seed: int = 0) -> OnnxModel:
    """x [N, 3, 12, 12] -> classes [N, 10]."""
    net = Deep(seed)
    value = net.conv("stem", "x", 3, CHANNELS)
    for block in range(blocks):
        at = f"blocks.{block}"
        value = net.residual(at, value)
        value = net.gate(at, value)
        value = net.zoom(at, value)
        value = net.attention(at, value)
    flat = net.node("flat", "Flatten", net.node("mean", "GlobalAveragePool", value))
    head = net.normal(CLASSES, CHANNELS), net.normal(CLASSES, spread=0.1)
    return net.model(net.node("head", "Gemm", flat, *head, transB=1))
