"""8 bits in a graph: Q and DQ of a tensor, weights as they are stored, biases that make up for what is lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hasten.graph._ranges import Seen

if TYPE_CHECKING:
    import onnx

    from hasten.graph.quantize import Quantize

INT8 = ".int8."  # between the name of a tensor and what belongs to its 8 bits


@dataclass(frozen=True)
class Scale:
    """Of 8 bits: real = step * (stored - zero)."""

    step: float
    zero: np.ndarray  # of the type that is stored

    @classmethod
    def of(cls, low: float, high: float, symmetric: bool) -> "Scale":
        if symmetric and low < 0:
            return cls.signed(low, high)
        step = (high - low) / 255
        return cls(step, np.array(np.clip(round(-low / step), 0, 255), np.uint8))

    @classmethod
    def signed(cls, low: float, high: float) -> "Scale":
        """Of int8 around zero, whatever the sign of the values: the only one that TensorRT reads."""
        return cls(max(-low, high) / 127, np.array(0, np.int8))


def pair(graph: "onnx.GraphProto", name: str, scale: Scale) -> list["onnx.NodeProto"]:
    """Q and DQ of a tensor."""
    import onnx

    step, zero, stored, back = (f"{name}{INT8}{part}" for part in ("scale", "zero", "q", "dq"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(scale.step, np.float32), step))
    graph.initializer.append(onnx.numpy_helper.from_array(scale.zero, zero))
    return [
        onnx.helper.make_node("QuantizeLinear", [name, step, zero], [stored], name=stored),
        onnx.helper.make_node("DequantizeLinear", [stored, step, zero], [back], name=back),
    ]


def weight(graph: "onnx.GraphProto", layer: "onnx.NodeProto", step: "Quantize", source: Seen) -> "onnx.NodeProto":
    """Store the weight in INT8, a scale for each output channel; the bias makes up for what is lost.

    Args:
        source: what the layer's input holds.

    Returns:
        The DQ behind it.
    """
    import onnx

    weight = onnx.numpy_helper.to_array(_stored(graph)[layer.input[1]])
    across = any(a.name == "transB" and a.i for a in layer.attribute)
    axis = 0 if layer.op_type == "Conv" or across else weight.ndim - 1
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    steps = np.maximum(np.abs(rows).max(1), 1e-12) / 127
    if step.estimator == "mse":
        steps *= narrowed(rows, steps)
    shape = [1] * weight.ndim
    shape[axis] = -1
    stored = np.clip(np.round(weight / steps.reshape(shape)), -127, 127).astype(np.int8)
    name = f"{layer.name}.weight{INT8}"
    for suffix, values in (("q", stored), ("scale", steps.astype(np.float32)), ("zero", np.zeros(len(steps), np.int8))):
        graph.initializer.append(onnx.numpy_helper.from_array(values, f"{name}{suffix}"))
    back = onnx.helper.make_node(
        "DequantizeLinear", [f"{name}q", f"{name}scale", f"{name}zero"], [f"{name}dq"], name=f"{name}dq", axis=axis
    )
    layer.input[1] = f"{name}dq"
    if step.bias_correction and layer.op_type in ("Conv", "Gemm"):
        lost = weight - stored * steps.reshape(shape).astype(np.float32)
        _correct(graph, layer, lost if axis == 0 else lost.T, source)
    return back


def whole_bias(graph: "onnx.GraphProto", layer: "onnx.NodeProto", scale: Scale) -> list["onnx.NodeProto"]:
    """The bias of a product in 32-bit integers, without which ONNX Runtime leaves the product in floats."""
    import onnx

    values = _stored(graph)
    if len(layer.input) < 3 or layer.input[2] not in values:
        return []
    name = f"{layer.name}.bias{INT8}"
    bias = onnx.numpy_helper.to_array(values[layer.input[2]])
    steps = onnx.numpy_helper.to_array(values[f"{layer.name}.weight{INT8}scale"]) * np.float32(scale.step)
    if bias.shape != steps.shape:
        return []
    stored = np.clip(np.round(bias / steps), -(2**31), 2**31 - 1).astype(np.int32)
    for suffix, array in (("q", stored), ("scale", steps), ("zero", np.zeros(len(steps), np.int32))):
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}{suffix}"))
    layer.input[2] = f"{name}dq"
    ends = [f"{name}q", f"{name}scale", f"{name}zero"]
    return [onnx.helper.make_node("DequantizeLinear", ends, [layer.input[2]], name=layer.input[2], axis=0)]


def narrowed(rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """For each row the share of its step at which it changes least when it is rounded."""
    shares = np.linspace(1.0, 0.6, 21)
    errors = []
    for share in shares:
        step = (steps * share)[:, None]
        errors.append(np.square(np.clip(np.round(rows / step), -127, 127) * step - rows).sum(1))
    best: np.ndarray = shares[np.argmin(errors, 0)]
    return best


def _correct(graph: "onnx.GraphProto", layer: "onnx.NodeProto", lost: np.ndarray, source: Seen) -> None:
    """Add to the bias what the mean input makes of the lost part of the weight (Nagel et al. 2019, arXiv:1906.04721).

    Args:
        lost: [out, in of a group, ...].
    """
    import onnx

    if source.means is None:
        return
    taps = lost.reshape(len(lost), lost.shape[1], -1).sum(2)
    groups = next((a.i for a in layer.attribute if a.name == "group"), 1)
    if taps.shape[1] * groups != len(source.means):
        return
    means = source.means.reshape(groups, -1).repeat(len(lost) // groups, 0)
    shift = (taps * means).sum(1)
    old = np.zeros(len(lost), np.float32)
    if len(layer.input) > 2 and layer.input[2]:
        if layer.input[2] not in _stored(graph):
            return
        old = onnx.numpy_helper.to_array(_stored(graph)[layer.input[2]])
    name = f"{layer.name}.bias.corrected"
    graph.initializer.append(onnx.numpy_helper.from_array((old + shift).astype(np.float32), name))
    layer.input[:] = [*layer.input[:2], name]


def _stored(graph: "onnx.GraphProto") -> Mapping[str, "onnx.TensorProto"]:
    return {w.name: w for w in graph.initializer}
