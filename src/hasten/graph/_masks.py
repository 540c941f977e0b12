"""Padding masks are written with the lowest float: here it is kept out of the ranges that calibration measures."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from hasten.engine import available
from hasten.model import Arrays, OnnxModel

if TYPE_CHECKING:
    import onnx

LIMIT = 1e4  # exp(-1e4) is 0 in every float format, so a softmax gives the same weights; a range of 1e38 has no INT8
_CLOSE = 1e-5  # of the largest output: two runs of one graph may add in another order
_CARRIES = frozenset({
    "Add", "Sub", "Mul", "Where", "Max", "Min", "Cast", "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather",
    "Identity", "Neg", "Reshape", "ScatterND", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze",
})  # fmt: skip
_ENDS = frozenset({"Softmax", "LogSoftmax", "ReduceMax", "MaxPool", "GlobalMaxPool"})  # the lowest float vanishes here


def masked_nodes(proto: "onnx.ModelProto") -> list[str]:
    """Names of the nodes that a mask's constant runs through, the softmax at its end included: not to be quantized.

    Args:
        proto: constants are initializers and nodes have names, as `simplify` leaves them.
    """
    huge = {w.name for w in proto.graph.initializer if _is_huge(w)}
    found = []
    for node in proto.graph.node:
        filled = any(_is_huge(a.t) for a in node.attribute if a.HasField("t"))
        if node.op_type in _CARRIES | _ENDS and (filled or huge.intersection(node.input)):
            found.append(node.name)
            if node.op_type in _CARRIES:
                huge.update(node.output)
    return found


def clamped(proto: "onnx.ModelProto", feeds: Iterable[Arrays]) -> "onnx.ModelProto":
    """A copy in which no constant is beyond ±1e4; `proto` itself where there is none, or where outputs would differ.

    Args:
        feeds: real inputs, on which the outputs are compared.
    """
    made = type(proto)()
    made.CopyFrom(proto)
    fills = [a.t for n in made.graph.node for a in n.attribute if a.HasField("t")]
    huge = [t for t in (*made.graph.initializer, *fills) if _is_huge(t)]
    for tensor in huge:
        _clamp(tensor)
    return made if huge and _same(proto, made, feeds) else proto


def _is_huge(tensor: "onnx.TensorProto") -> bool:
    import onnx

    if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return False
    return bool((np.abs(onnx.numpy_helper.to_array(tensor)) > LIMIT).any())


def _clamp(tensor: "onnx.TensorProto") -> None:
    import onnx

    values = np.clip(onnx.numpy_helper.to_array(tensor), -LIMIT, LIMIT)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _same(before: "onnx.ModelProto", after: "onnx.ModelProto", feeds: Iterable[Arrays]) -> bool:
    for engine in available("onnx")[:1]:
        with engine.compile(OnnxModel(before)) as old, engine.compile(OnnxModel(after)) as new:
            return all(_close(old(feed), new(feed)) for feed in feeds)
    return False


def _close(old: Arrays, new: Arrays) -> bool:
    scale = {name: max(1.0, float(np.abs(value).max(initial=0))) for name, value in old.items()}
    return all(np.allclose(new[name], old[name], rtol=0, atol=_CLOSE * scale[name], equal_nan=True) for name in old)
