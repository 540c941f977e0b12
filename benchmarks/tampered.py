"""Faults as people make them, each planted into one node of a copy of a graph; all shapes stay as they are."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

Plant = Callable[[onnx.GraphProto, onnx.NodeProto], bool]  # changes the node, or says that it cannot


def weight_of(graph: onnx.GraphProto, name: str) -> np.ndarray | None:
    return next((numpy_helper.to_array(w).copy() for w in graph.initializer if w.name == name), None)


def rewired(graph: onnx.GraphProto, node: onnx.NodeProto, place: int, array: np.ndarray) -> bool:
    """Give a node a weight of its own."""
    name = f"{node.input[place]}.planted"
    graph.initializer.append(numpy_helper.from_array(array, name))
    node.input[place] = name
    return True


def attribute(node: onnx.NodeProto, name: str, value: object) -> bool:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))
    return True


def read(node: onnx.NodeProto, name: str, otherwise: object = None) -> object:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), otherwise)


def nudged(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """One weight, by a third of the largest."""
    if node.op_type not in ("Conv", "MatMul", "Gemm") or (array := weight_of(graph, node.input[1])) is None:
        return False
    array.flat[array.size // 2] += np.abs(array).max() / 3
    return rewired(graph, node, 1, array)


def transposed(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """A square matrix, as [in, out] where [out, in] was meant."""
    array = weight_of(graph, node.input[1]) if node.op_type == "MatMul" else None
    if array is None or array.ndim != 2 or array.shape[0] != array.shape[1]:
        return False
    return rewired(graph, node, 1, np.ascontiguousarray(array.T))


def padded(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """All of it at the end, as TensorFlow pads for a stride of two."""
    pads = list(read(node, "pads", []))
    if node.op_type not in ("Conv", "MaxPool") or not pads or len(set(pads)) != 1 or not pads[0]:
        return False
    half = len(pads) // 2
    return attribute(node, "pads", [0] * half + [2 * pads[0]] * half)


def dilated(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Dilation 2 instead of 1, with the padding that keeps the shape."""
    if node.op_type != "Conv" or read(node, "kernel_shape") != [3, 3] or read(node, "strides", [1, 1]) != [1, 1]:
        return False
    return attribute(node, "dilations", [2, 2]) and attribute(node, "pads", [p + 1 for p in read(node, "pads")])


def activated(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Another function than was trained with."""
    other = {"Relu": "Softplus", "Gelu": "Relu", "Sigmoid": "HardSigmoid", "Clip": "Relu"}
    if node.op_type not in other:
        return False
    del node.input[1:], node.attribute[:]
    node.op_type = other[node.op_type]
    return True


def epsilon(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """1e-2 instead of 1e-5, as another framework has it."""
    return node.op_type in ("BatchNormalization", "LayerNormalization") and attribute(node, "epsilon", 1e-2)


def unbiased(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """The bias is gone."""
    bias = weight_of(graph, node.input[2]) if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 else None
    if bias is None or not bias.any():
        return False
    del node.input[2:]
    return True


def sideways(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """A softmax over the axis before the last."""
    return node.op_type == "Softmax" and attribute(node, "axis", -2)


def resized(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Corners aligned, where half pixels were meant."""
    return node.op_type == "Resize" and attribute(node, "coordinate_transformation_mode", "align_corners")


def rescaled(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """The scale of a Q four times too small, so that large values are cut off; its DQ has the same."""
    if node.op_type != "QuantizeLinear" or (scale := weight_of(graph, node.input[1])) is None:
        return False
    behind = [n for n in graph.node if node.output[0] in n.input]
    if [n.op_type for n in behind] != ["DequantizeLinear"]:
        return False
    rewired(graph, behind[0], 1, scale / 4)
    node.input[1] = behind[0].input[1]
    return True


def clipped(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """A bound at half of what it was."""
    most = weight_of(graph, node.input[2]) if node.op_type == "Clip" and len(node.input) > 2 else None
    return most is not None and rewired(graph, node, 2, most / 2)


KINDS: dict[str, Plant] = {
    "a weight nudged": nudged,
    "a wrong pad": padded,
    "a swapped activation": activated,
    "a bad Q scale": rescaled,
    "a wrong epsilon": epsilon,
    "a transposed weight": transposed,
    "a wrong dilation": dilated,
    "a dropped bias": unbiased,
    "a softmax over another axis": sideways,
    "a resize of another mode": resized,
    "a bound halved": clipped,
}


def plant(model: onnx.ModelProto, kind: str, part: float = 0.5) -> tuple[onnx.ModelProto, str]:
    """A copy with a fault of this kind in one node, and what that node is called.

    Args:
        part: which of the nodes that can have it: 0 is the first, 1 the last.

    Raises:
        ValueError: no node can.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    able: Sequence[int] = [i for i in range(len(model.graph.node)) if _can(model, i, kind)]
    if not able:
        raise ValueError(f"no node can have {kind}")
    node = made.graph.node[able[round(part * (len(able) - 1))]]
    KINDS[kind](made.graph, node)
    return made, node.name or node.output[0]


def _can(model: onnx.ModelProto, place: int, kind: str) -> bool:
    """On a graph of this node alone and the weights, which is thrown away."""
    node = onnx.NodeProto()
    node.CopyFrom(model.graph.node[place])
    around = onnx.GraphProto()
    around.node.extend(n for n in model.graph.node if set(n.input) & set(node.output))
    around.initializer.extend(
        w for w in model.graph.initializer if w.name in {*node.input, *(i for n in around.node for i in n.input)}
    )
    return KINDS[kind](around, node)
