"""INT8 as TensorRT 8 and the DLA of TensorRT 10 read it: a graph in floats, and a scale for each tensor beside it.

The cache is text: a line that names version and calibrator, then a line for each tensor, `name: scale`, the scale as
the hexadecimal digits of its f32. A layer runs in INT8 where all that it takes and gives has a scale.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hasten.data import Data
from hasten.errors import InputError
from hasten.graph._ranges import runner
from hasten.model import OnnxModel

if TYPE_CHECKING:
    import onnx

THROUGH = frozenset({
    "Relu", "Clip", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity",
})  # fmt: skip
LEVELS = 127  # steps from zero to the end of the range


@dataclass(frozen=True)
class Unquantized:
    """A network without its Q and DQ.

    Attributes:
        model: in floats; weights have the values that they had in INT8.
        scales: tensor -> real value of one step, of those that had Q and DQ.
    """

    model: OnnxModel
    scales: Mapping[str, float]


def unquantized(model: OnnxModel) -> Unquantized:
    """Take Q and DQ out, weights back into floats.

    Raises:
        InputError: Q and DQ that no cache can say: zero points, several scales for an activation, computed scales.
    """
    import onnx
    from onnx import numpy_helper

    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    stored = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    back: dict[str, str] = {}  # what a DQ gives -> what stands in its place
    scales: dict[str, float] = {}
    quantized = {n.output[0]: n for n in graph.node if n.op_type == "QuantizeLinear"}
    for node in (n for n in graph.node if n.op_type == "DequantizeLinear"):
        source = quantized.get(node.input[0])
        if source is not None:
            scales[source.input[0]] = _scale(source, stored)
            back[node.output[0]] = source.input[0]
        elif node.input[0] in stored:
            values = _values(node, stored)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        else:
            raise InputError(f"{node.name or node.output[0]} reads 8 bits that nothing here wrote", "quantize it anew")
    kept = [n for n in graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    for node in kept:
        node.input[:] = [back.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in node.input} | {o.name for o in graph.output}
    weights = [w for w in graph.initializer if w.name in read]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.value_info[:]
    return Unquantized(OnnxModel(onnx.shape_inference.infer_shapes(proto)), scales)


def every_scale(plain: Unquantized, data: Data) -> tuple[dict[str, float], list[str]]:
    """A scale for each tensor of floats that is computed or fed, and the names of those that were measured here.

    One without Q and DQ has the scale of what it becomes by an activation or a move, since no engine keeps it; one
    that has no such reader (the sum that a skip is added to, the answer) has that of its largest value on `data`.
    """
    graph = plain.model.proto.graph
    scales = dict(plain.scales)
    for node in reversed(graph.node):
        if node.op_type in THROUGH and node.output[0] in scales:
            scales.setdefault(node.input[0], scales[node.output[0]])
    for node in graph.node:
        if node.op_type in THROUGH and node.input[0] in scales:
            scales.setdefault(node.output[0], scales[node.input[0]])
    floats = _floats(plain.model)
    rest = [name for name in floats if name not in scales]
    largest = dict.fromkeys(rest, 0.0)
    run = runner(plain.model.proto, rest)
    for feed in data.batches(plain.model.signature.fixed_batch):
        for name, values in run(feed):
            largest[name] = max(largest[name], float(np.abs(values).max(initial=0.0)))
    measured = {name: (value or 1.0) / LEVELS for name, value in largest.items()}
    return {name: measured.get(name, scales.get(name, 1.0)) for name in floats}, rest


def cache(scales: Mapping[str, float], version: str) -> str:
    """The file. Args: version: as its first line has it, 8502 for TensorRT 8.5.2."""
    lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in scales.items()]
    return "\n".join([f"TRT-{version}-EntropyCalibration2", *lines, ""])


def _floats(model: OnnxModel) -> list[str]:
    """Tensors f32 that are fed or computed, in the order of the graph."""
    import onnx

    graph = model.proto.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    known = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    weights = {w.name for w in graph.initializer}
    made = [t for n in graph.node for t in n.output]
    return [t for t in (*(i.name for i in graph.input if i.name not in weights), *made) if t in known]


def _scale(node: "onnx.NodeProto", stored: Mapping[str, np.ndarray]) -> float:
    scale, zero = stored.get(node.input[1]), stored.get(node.input[2]) if len(node.input) > 2 else None
    where = node.name or node.output[0]
    if scale is None or scale.size != 1 or zero is None or zero.dtype != np.int8 or zero.any():
        raise InputError(
            f"{where} is not int8 around zero with one scale, as a calibration cache has it",
            "quantize(method=placed, engine=tensorrt) writes it so",
        )
    return float(scale.reshape(-1)[0])


def _values(node: "onnx.NodeProto", stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """The floats that a stored weight stands for."""
    weight, scale = stored[node.input[0]], stored[node.input[1]]
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [1] * weight.ndim
    if scale.size > 1:
        shape[axis] = -1
    values: np.ndarray = weight.astype(np.float32) * scale.reshape(shape if weight.ndim else ()).astype(np.float32)
    return values
