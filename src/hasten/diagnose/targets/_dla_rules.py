"""The rules of the DLA, one a kind of layer: why it is not taken, or nothing. The limits are those of dla.toml."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hasten.diagnose.single import Single

Limits = Mapping[str, Any]
VANISHES = {"Cast", "Dropout", "Identity"}  # of floats


@dataclass(frozen=True)
class Layer:
    """A node as TensorRT sees it.

    Attributes:
        constants: those of its inputs that are constants, by name.
        known: type and shape of its values, by name.
        folded: whether it is gone when the engine is built.
        cut: why it could not be looked at.
    """

    node: onnx.NodeProto
    constants: Mapping[str, np.ndarray]
    known: Mapping[str, tuple[str, tuple[int, ...]]]
    folded: bool
    cut: str = ""

    @classmethod
    def of(cls, single: Single) -> "Layer":
        if single.model is None:
            return cls(single.node, {}, {}, False, single.why)
        graph = single.model.graph
        constants = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
        values = [(v.name, v.type.tensor_type) for v in (*graph.input, *graph.output)]
        known = {n: (_name(t.elem_type), tuple(d.dim_value for d in t.shape.dim)) for n, t in values}
        known |= {n: (a.dtype.name, a.shape) for n, a in constants.items()}
        kinds = [known.get(n, ("",))[0] for n in (*single.node.input[:1], *single.node.output[:1])]
        gone = single.node.op_type in VANISHES and all("float" in kind for kind in kinds)
        return cls(single.node, constants, known, gone or single.folded)

    def attribute(self, name: str, otherwise: Any) -> Any:
        return next((helper.get_attribute_value(a) for a in self.node.attribute if a.name == name), otherwise)

    def shape(self, place: int = 0) -> tuple[int, ...]:
        return self.known[self.node.input[place]][1]

    @property
    def made(self) -> tuple[int, ...]:
        return self.known[self.node.output[0]][1]

    @property
    def moving(self) -> list[str]:
        """Inputs that come when it runs."""
        return [n for n in self.node.input if n and n not in self.constants]

    def constant(self, place: int) -> np.ndarray | None:
        """The value of an input that is one."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        return self.constants.get(name)

    def general(self, table: Limits) -> str:
        """Type and size of what comes and goes."""
        if self.cut:
            return self.cut
        for name in (*self.moving, *(n for n in self.node.output[:1])):
            dtype, shape = self.known[name]
            if dtype not in table["source"]["precisions"]:
                return f"{name!r} is {dtype}, and the DLA computes in FP16 and INT8"
            if len(shape) not in (2, 4):
                return f"{name!r} has {len(shape)} axes, and the DLA takes [N, C, H, W]"
            if not _in(shape[:1], table["general"]["batch"]):
                return f"a batch of {shape[0]} is more than {table['general']['batch'][1]}"
            if not _in(shape[1:], table["general"]["side"]):
                return f"an axis of {max(shape[1:])} is more than {table['general']['side'][1]}"
        return ""


def convolution(layer: Layer, limits: Limits) -> str:
    weight = layer.constant(1)
    if weight is None:
        return "its weights are no constant"
    kernel, pads = weight.shape[2:], layer.attribute("pads", [0, 0, 0, 0])
    if layer.attribute("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = [max(0, k - 1) for k in kernel]  # at the most
    if any(p >= k for p, k in zip(pads, (*kernel, *kernel), strict=False)):
        return f"its padding {list(pads)} is not less than its kernel {list(kernel)}"
    return _limits(layer, limits, kernel, pads, weight.shape[0])


def deconvolution(layer: Layer, limits: Limits) -> str:
    weight = layer.constant(1)
    if weight is None:
        return "its weights are no constant"
    kernel, low_high = weight.shape[2:], limits["square_slow"]
    strides = layer.attribute("strides", [1, 1])
    if sorted(kernel)[0] == 1 and sorted(kernel)[-1] in limits["kernel_long"]:
        kernel = (1, 1)
    if len(set(kernel)) == 1 and _in(kernel, low_high) and _in(strides, low_high):
        return f"a square kernel and stride of {kernel[0]} is switched off: it takes too long to compile"
    pads = layer.attribute("pads", [0, 0, 0, 0])
    if any(layer.attribute("output_padding", [0])) or layer.attribute("auto_pad", b"NOTSET") != b"NOTSET":
        return "its padding is not 0"
    return _limits(layer, limits, kernel, pads, weight.shape[1])


def fully_connected(layer: Layer, limits: Limits) -> str:
    if layer.constant(1) is None:
        return "its second operand is no constant"
    if layer.attribute("transA", 0):
        return "its first operand is transposed"
    return "" if len(layer.shape()) == 2 else "it is a product of batches, not a fully connected layer"


def activation(layer: Layer, limits: Limits) -> str:
    if layer.node.op_type != "Clip":
        return ""
    low = layer.constant(1) if len(layer.node.input) > 1 else layer.attribute("min", None)
    high = layer.constant(2) if len(layer.node.input) > 2 else layer.attribute("max", None)
    if low is None or high is None or float(low) != 0.0 or not _in([float(high)], limits["clip"]):
        return f"of Clip only [0, {limits['clip'][0]} to {limits['clip'][1]}] is there"
    return ""


def parametric(layer: Layer, limits: Limits) -> str:
    return "" if layer.constant(1) is not None else "its slope is no constant"


def pooling(layer: Layer, limits: Limits) -> str:
    kernel, pads = layer.attribute("kernel_shape", []), layer.attribute("pads", [0, 0, 0, 0])
    if any(d != 1 for d in layer.attribute("dilations", [1])):
        return "its window is dilated"
    if len(layer.node.output) > 1 and layer.node.output[1]:
        return "the places of the largest values are asked for"
    return _limits(layer, limits, kernel, pads, None)


def reduce(layer: Layer, limits: Limits) -> str:
    if layer.node.op_type == "GlobalMaxPool":
        return ""
    axes = layer.constant(1) if len(layer.node.input) > 1 else layer.attribute("axes", None)
    taken = range(len(layer.shape())) if axes is None else [int(a) % len(layer.shape()) for a in np.ravel(axes)]
    if len(layer.shape()) != 4 or not layer.attribute("keepdims", 1):
        return "only a reduction that stays [N, C, H, W] is there"
    return "it reduces over the batch" if 0 in taken else ""


def elementwise(layer: Layer, limits: Limits) -> str:
    """Each operand has the shape of the answer, or one value a channel or a sample; a constant one is a scale."""
    if len(layer.moving) == 1 and len(layer.node.input) == 2:
        return _scale(layer)
    whole, rest = layer.made, (1,) * (len(layer.made) - 2)
    fits = (whole, (*whole[:2], *rest), (*whole[:1], 1, *rest))
    odd = next((layer.known[n][1] for n in layer.moving if layer.known[n][1] not in fits), None)
    return f"an operand of {list(odd)} is not spread over {list(whole)}" if odd is not None else ""


def _scale(layer: Layer) -> str:
    """A constant operand: one value, one a channel, or one an element."""
    value = next(layer.constants[n] for n in layer.node.input if n in layer.constants)
    moving = layer.known[layer.moving[0]][1]
    if layer.node.op_type in ("Max", "Min") and value.size != 1:
        return "of Max and Min with a constant only one value for all is there"
    shape = (1,) * (len(moving) - value.ndim) + value.shape
    each = shape == moving or shape[1:] == moving[1:]
    channel = len(moving) > 1 and math.prod(shape) == shape[1] == moving[1] if len(shape) > 1 else False
    return (
        "" if value.size == 1 or each or channel else f"a constant of {list(value.shape)} is no scale of {list(moving)}"
    )


def nothing(layer: Layer, limits: Limits) -> str:
    return ""


def concatenation(layer: Layer, limits: Limits) -> str:
    if len(layer.node.input) < 2:
        return "it has one input"
    if len(layer.made) != 4 or layer.attribute("axis", 1) % 4 != limits["axis"]:
        return "only channels are joined"
    return "" if not layer.constants else "one of its inputs is a constant"


def lrn(layer: Layer, limits: Limits) -> str:
    size = layer.attribute("size", 0)
    return "" if size in limits["size"] else f"a window of {size} is not among {limits['size']}"


def resize(layer: Layer, limits: Limits) -> str:
    taken, made = layer.shape(), layer.made
    if len(taken) != 4 or made[:2] != taken[:2]:
        return "only H and W are resized"
    factors = [m / t for m, t in zip(made[2:], taken[2:], strict=True)]
    mode = layer.attribute("mode", b"nearest").decode()
    if mode not in ("nearest", "linear") or layer.attribute("antialias", 0):
        return f"{mode}{' with antialias' if layer.attribute('antialias', 0) else ''} is not there"
    low, high = limits[mode]
    if any(f != int(f) for f in factors) or not _in(factors, limits[mode]):
        return f"factors {[round(f, 3) for f in factors]} are not whole numbers from {low} to {high}"
    return _coordinates(layer, mode)


def _coordinates(layer: Layer, mode: str) -> str:
    """As IResizeLayer says: asymmetric floors or half-pixel rounds for nearest, half-pixel alone for linear."""
    old = layer.node.op_type == "Upsample"
    where = "asymmetric" if old else layer.attribute("coordinate_transformation_mode", b"half_pixel").decode()
    rounds = "floor" if old else layer.attribute("nearest_mode", b"round_prefer_floor").decode()
    good = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}
    fits = (where, rounds) in good if mode == "nearest" else where == "half_pixel"
    return "" if fits else f"{mode} with {where}{f' and {rounds}' if mode == 'nearest' else ''} is not there"


def shuffle(layer: Layer, limits: Limits) -> str:
    """A reshape or transpose, of four axes, that leaves the batch alone."""
    if len(layer.shape()) != 4:
        return "only four axes are shuffled"
    if layer.node.op_type == "Transpose":
        still = layer.attribute("perm", [3, 2, 1, 0])[0] == 0
    else:
        still = layer.shape()[:1] == layer.made[:1]
    return "" if still else "it moves the batch"


def slice_(layer: Layer, limits: Limits) -> str:
    if len(layer.shape()) != 4:
        return "only four axes are sliced"
    if len(layer.moving) > 1:
        return "where it begins and ends is no constant"
    return "" if layer.shape()[0] == layer.made[0] else "it slices the batch"


def softmax(layer: Layer, limits: Limits) -> str:
    axis = layer.attribute("axis", -1) % len(layer.shape())
    return "it goes over the batch" if axis == 0 else ""


RULES: Mapping[str, Callable[[Layer, Limits], str]] = {
    "convolution": convolution,
    "deconvolution": deconvolution,
    "fully_connected": fully_connected,
    "activation": activation,
    "parametric": parametric,
    "pooling": pooling,
    "reduce": reduce,
    "elementwise": elementwise,
    "scale": nothing,
    "concatenation": concatenation,
    "lrn": lrn,
    "resize": resize,
    "shuffle": shuffle,
    "slice": slice_,
    "softmax": softmax,
    "unary": nothing,
}


def _limits(layer: Layer, limits: Limits, kernel: Sequence[int], pads: Sequence[int], outputs: int | None) -> str:
    """What convolutions and pooling have in common."""
    if len(layer.shape()) != 4 or len(kernel) != 2:
        return f"it has {len(kernel)} spatial axes, and two are there"
    asked: dict[str, Sequence[int]] = {
        "kernel": kernel,
        "padding": pads,
        "stride": layer.attribute("strides", [1, 1]),
        "dilation": layer.attribute("dilations", [1, 1]),
        "groups": [layer.attribute("group", 1)],
        "outputs": [outputs or 1],
    }
    for what, values in asked.items():
        if what in limits and not _in(values, limits[what]):
            low, high = limits[what]
            shown = values[0] if len(values) == 1 else list(values)
            return f"{what} {shown} is not {f'from {low} to {high}' if low < high else low}"
    return ""


def _in(values: Sequence[float], interval: Sequence[float]) -> bool:
    return all(interval[0] <= v <= interval[1] for v in values)


def _name(kind: int) -> str:
    return str(helper.tensor_dtype_to_np_dtype(kind).name) if kind else "unknown"
