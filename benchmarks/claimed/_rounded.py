"""Weights of a graph, rounded to few bits and stored in floats as before: what few bits cost, without a speed."""

import numpy as np
import onnx

from hasten.model import OnnxModel
from hasten.provenance import nodes

_ROWS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "LSTM": 1, "GRU": 1, "RNN": 1}  # the axis of what is given
_RECURRENT = ("LSTM", "GRU", "RNN")  # which have a second matrix


def rounded(model: OnnxModel, bits: int) -> OnnxModel:
    """A copy whose convolutions and products have weights of 2^bits - 1 values, symmetric, a scale for each output."""
    made = onnx.ModelProto()
    made.CopyFrom(model.proto)
    stored = {w.name: w for w in made.graph.initializer}
    axes: dict[str, int] = {}
    for node in nodes(made.graph):
        places = (1, 2) if node.op_type in _RECURRENT else (1,)
        for name in [node.input[i] for i in places if len(node.input) > i]:
            axis = _axis(node)
            if axis is not None and name in stored and len(stored[name].dims) > 1:
                axes[name] = axis
    for name, axis in axes.items():
        weight = onnx.numpy_helper.to_array(stored[name])
        stored[name].CopyFrom(onnx.numpy_helper.from_array(few(weight, axis, bits), name))
    return OnnxModel(made)


def few(weight: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """The nearest of -(2^(bits-1) - 1) .. 2^(bits-1) - 1 times a step, the step chosen for each index of `axis`."""
    most = 2 ** (bits - 1) - 1
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    widest = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-12) / most
    best, least = rows, np.full((len(rows), 1), np.inf)
    for share in np.linspace(1.0, 0.4, 31):  # a narrower range clips a few weights, and tells the others apart
        step = widest * share
        tried = np.clip(np.round(rows / step), -most, most) * step
        error = np.square(tried - rows).sum(1, keepdims=True)
        best, least = np.where(error < least, tried, best), np.minimum(error, least)
    shape = np.moveaxis(weight, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(best.reshape(shape), 0, axis).astype(weight.dtype))


def _axis(node: onnx.NodeProto) -> int | None:
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return _ROWS.get(node.op_type)
