"""Networks of well-known shapes with random weights, as graphs: for figures in which only time counts.

ResNet-50 (He et al. 2015) and MobileNetV2 (Sandler et al. 2018), batch norm folded, 224 x 224, 1000 classes.
"""

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten.model import OnnxModel

SIDE, CLASSES = 224, 1000


class Drawing:
    """A graph as it grows; a value is its name and its channels."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, *inputs: str, **settings: Any) -> str:
        made = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [made], name=f"{op}_{len(self.nodes)}", **settings))
        return made

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        made = self._rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(made if len(shape) > 1 else 0 * made, name))
        return name

    def constant(self, value: float) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.float32(value), name))
        return name

    def conv(self, value: str, given: int, made: int, side: int = 1, stride: int = 1, group: int = 1) -> str:
        weights = self.weight(made, given // group, side, side), self.weight(made)
        return self.node(
            "Conv", value, *weights, kernel_shape=[side, side], strides=[stride] * 2, pads=[side // 2] * 4, group=group
        )

    def finished(self, value: str, channels: int, name: str) -> OnnxModel:
        """With the mean over the image and the classes."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", value))
        last = self.node("Gemm", flat, self.weight(CLASSES, channels), self.weight(CLASSES), transB=1)
        ends = {"x": ("N", 3, SIDE, SIDE), last: ("N", CLASSES)}
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in ends.items()]
        graph = helper.make_graph(self.nodes, name, infos[:1], infos[1:], self.weights)
        return OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def resnet50() -> OnnxModel:
    draw = Drawing()
    value = draw.node("Relu", draw.conv("x", 3, 64, 7, 2))
    value, given = draw.node("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = draw.node("Relu", draw.conv(value, given, width))
            inner = draw.node("Relu", draw.conv(inner, width, width, 3, stride))
            inner = draw.conv(inner, width, 4 * width)
            around = value if block else draw.conv(value, given, 4 * width, 1, stride)
            value, given = draw.node("Relu", draw.node("Add", inner, around)), 4 * width
    return draw.finished(value, given, "resnet50")


def mobilenetv2() -> OnnxModel:
    draw = Drawing()
    ends = draw.constant(0.0), draw.constant(6.0)
    value, given = draw.node("Clip", draw.conv("x", 3, 32, 3, 2), *ends), 32
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for factor, made, blocks, first in stages:
        for block in range(blocks):
            stride, wide, inner = (1 if block else first), factor * given, value
            if factor > 1:
                inner = draw.node("Clip", draw.conv(inner, given, wide), *ends)
            inner = draw.node("Clip", draw.conv(inner, wide, wide, 3, stride, wide), *ends)
            inner = draw.conv(inner, wide, made)
            value = draw.node("Add", inner, value) if given == made and stride == 1 else inner
            given = made
    return draw.finished(draw.node("Clip", draw.conv(value, given, 1280), *ends), 1280, "mobilenetv2")
