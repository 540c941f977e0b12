"""Sixty and more models of one operator each, some of which one engine or another refuses, or only runs by a detour."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten.model import OnnxModel

F32, F16, F64, I64, I32, I16, I8, U64, U8, BOOL = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.INT16,
    TensorProto.INT8, TensorProto.UINT64, TensorProto.UINT8, TensorProto.BOOL,
)  # fmt: skip
EVERYDAY = frozenset(
    """
    sigmoid elu softplus hardsigmoid exp floor gelu-tanh leaky thresholded add where isinf conv conv-depthwise matmul
    gemm batch-norm instance-norm layer-norm max-pool average-pool softmax concat transpose reshape slice gather
    reduce-mean global-average trilu cast reduce-l1 einsum
    """.split()  # noqa: SIM905 - a list of strings would hide what it says
)  # that every engine takes: left to the long proof
IMAGE = (1, 8, 16, 16)
ROWS = (4, 32)


def one(
    op: str,
    inputs: Sequence[Sequence[int]],
    output: Sequence[int] | None,
    weights: Sequence[Any] = (),
    kind: int = F32,
    made: int | None = None,
    opset: int = 21,
    kinds: Sequence[int] = (),
    **settings: Any,
) -> OnnxModel:
    """A checked model of one node: inputs x0, x1 ..., then the weights in their order (None: left out), one output y.

    Args:
        kind: type of the inputs, unless `kinds` says it of each, and of the output unless `made` does.
    """
    types = kinds or [kind] * len(inputs)
    given = [helper.make_tensor_value_info(f"x{i}", t, s) for i, (s, t) in enumerate(zip(inputs, types, strict=True))]
    held = [numpy_helper.from_array(np.asarray(w), f"w{i}") for i, w in enumerate(weights) if w is not None]
    names = [*(v.name for v in given), *("" if w is None else f"w{i}" for i, w in enumerate(weights))]
    node = helper.make_node(op, names, ["y"], name="node", **settings)
    answer = helper.make_tensor_value_info("y", made or kind, output)
    graph = helper.make_graph([node], op, given, [answer], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    return OnnxModel(model)


def inputs_of(model: OnnxModel, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal floats, and whole numbers from 0 to 2."""
    rng, made = np.random.default_rng(seed), {}
    for tensor in model.signature.inputs:
        kind = np.dtype(tensor.dtype)
        drawn = rng.normal(size=tensor.shape) if kind.kind == "f" else rng.integers(0, 3, size=tensor.shape)
        made[tensor.name] = np.asarray(drawn).astype(kind)
    return made


def models() -> Mapping[str, OnnxModel]:
    return _elementwise() | _layers() | _moved() | _reduced() | _odd()


def _normal(*shape: int, kind: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(7).normal(0, 0.3, shape).astype(kind)


def _whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 9, shape).astype(np.uint8)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _elementwise() -> dict[str, OnnxModel]:
    plain = (
        "Relu", "Sigmoid", "Tanh", "Elu", "Softplus", "HardSwish", "HardSigmoid", "Mish", "Erf", "Exp", "Abs", "Floor",
    )  # fmt: skip
    found = {op.lower(): one(op, [IMAGE], IMAGE) for op in plain}
    found["gelu"] = one("Gelu", [IMAGE], IMAGE)
    found["gelu-tanh"] = one("Gelu", [IMAGE], IMAGE, approximate="tanh")
    found["celu"] = one("Celu", [IMAGE], IMAGE, alpha=0.7)
    found["leaky"] = one("LeakyRelu", [IMAGE], IMAGE, alpha=0.1)
    found["thresholded"] = one("ThresholdedRelu", [IMAGE], IMAGE, alpha=0.5)
    found["prelu"] = one("PRelu", [IMAGE], IMAGE, [_normal(8, 1, 1)])
    found["relu6"] = one("Clip", [IMAGE], IMAGE, [np.float32(0), np.float32(6)])
    found["add"] = one("Add", [IMAGE, IMAGE], IMAGE)
    found["mul-half"] = one("Mul", [IMAGE, IMAGE], IMAGE, kind=F16)
    found["add-double"] = one("Add", [ROWS, ROWS], ROWS, kind=F64)
    found["add-int8"] = one("Add", [ROWS, ROWS], ROWS, kind=I8)
    found["max-int16"] = one("Max", [ROWS, ROWS], ROWS, kind=I16)
    found["pow-uint64"] = one("Pow", [ROWS, ROWS], ROWS, kinds=(F32, U64))
    found["mod-float"] = one("Mod", [ROWS], ROWS, [np.float32(1.5)], fmod=1)
    found["bitwise"] = one("BitwiseAnd", [ROWS, ROWS], ROWS, kind=I32)
    found["shift"] = one("BitShift", [ROWS, ROWS], ROWS, kind=U8, direction="LEFT")
    found["where"] = one("Where", [ROWS, ROWS, ROWS], ROWS, kinds=(BOOL, F32, F32))
    found["isinf"] = one("IsInf", [ROWS], ROWS, made=BOOL)
    return found


def _layers() -> dict[str, OnnxModel]:
    weight, bias = _normal(16, 8, 3, 3), _normal(16)
    out = (1, 16, 16, 16)
    eight = np.float32(0.05), np.uint8(3)  # a scale and a zero point
    norm = [np.ones(8, np.float32), _normal(8), _normal(8), np.ones(8, np.float32)]
    return {
        "conv": one("Conv", [IMAGE], out, [weight, bias], pads=[1] * 4),
        "conv-half": one("Conv", [IMAGE], out, [weight.astype(np.float16)], kind=F16, pads=[1] * 4),
        "conv-double": one("Conv", [IMAGE], out, [weight.astype(np.float64)], kind=F64, pads=[1] * 4),
        "conv-depthwise": one("Conv", [IMAGE], IMAGE, [_normal(8, 1, 3, 3)], pads=[1] * 4, group=8),
        "conv-1d": one("Conv", [(1, 8, 32)], (1, 4, 30), [_normal(4, 8, 3)]),
        "conv-3d": one("Conv", [(1, 2, 6, 6, 6)], (1, 4, 4, 4, 4), [_normal(4, 2, 3, 3, 3)]),
        "transposed": one("ConvTranspose", [IMAGE], (1, 4, 32, 32), [_normal(8, 4, 2, 2)], strides=[2, 2]),
        "conv-integer": one("ConvInteger", [IMAGE], (1, 4, 14, 14), [np.ones((4, 8, 3, 3), np.uint8)], U8, I32),
        "gemm": one("Gemm", [ROWS], (4, 10), [_normal(10, 32), _normal(10)], transB=1),
        "matmul": one("MatMul", [(2, 4, 8), (2, 8, 4)], (2, 4, 4)),
        "matmul-integer": one("MatMulInteger", [ROWS], (4, 10), [np.ones((32, 10), np.uint8)], kind=U8, made=I32),
        "batch-norm": one("BatchNormalization", [IMAGE], IMAGE, norm),
        "instance-norm": one("InstanceNormalization", [IMAGE], IMAGE, norm[:2]),
        "group-norm": one("GroupNormalization", [IMAGE], IMAGE, norm[:2], num_groups=4),
        "layer-norm": one("LayerNormalization", [ROWS], ROWS, [np.ones(32, np.float32), _normal(32)]),
        "lrn": one("LRN", [IMAGE], IMAGE, size=5),
        "max-pool": one("MaxPool", [IMAGE], (1, 8, 8, 8), kernel_shape=[2, 2], strides=[2, 2]),
        "average-pool": one("AveragePool", [IMAGE], IMAGE, kernel_shape=[3, 3], pads=[1] * 4),
        "average-dilated": one("AveragePool", [IMAGE], (1, 8, 12, 12), kernel_shape=[3, 3], dilations=[2, 2]),
        "lp-pool": one("LpPool", [IMAGE], (1, 8, 8, 8), kernel_shape=[2, 2], strides=[2, 2], p=2),
        "softmax": one("Softmax", [ROWS], ROWS, axis=1),
        "quantize": one("QuantizeLinear", [IMAGE], IMAGE, [np.float32(0.05), np.int8(0)], made=I8),
        "dequantize-asymmetric": one("DequantizeLinear", [IMAGE], IMAGE, [np.float32(0.05), np.uint8(9)], U8, F32),
        "qlinear-matmul": one("QLinearMatMul", [ROWS], (4, 8), [*eight, _whole(32, 8), *eight, *eight], U8),
        "dequantize": one("DequantizeLinear", [IMAGE], IMAGE, [np.float32(0.05), np.int8(0)], I8, F32),
    }


def _moved() -> dict[str, OnnxModel]:
    half = np.array([1, 1, 0.5, 0.5], np.float32)
    double = np.array([1, 1, 2, 2], np.float32)
    small, large = (1, 8, 8, 8), (1, 8, 32, 32)
    return {
        "resize-nearest": one("Resize", [IMAGE], large, [None, double], coordinate_transformation_mode="asymmetric",
                              nearest_mode="floor"),
        "resize-linear": one("Resize", [IMAGE], large, [None, double], mode="linear"),
        "resize-antialias": one("Resize", [IMAGE], small, [None, half], mode="linear", antialias=1),
        "resize-aspect": one("Resize", [(1, 1, 4, 8)], (1, 1, 8, 16), [None, None, _ints(8, 20)], axes=[2, 3],
                             keep_aspect_ratio_policy="not_larger"),
        "resize-cubic": one("Resize", [IMAGE], large, [None, double], mode="cubic"),
        "reshape": one("Reshape", [IMAGE], (1, 2048), [_ints(1, -1)]),
        "transpose": one("Transpose", [IMAGE], (1, 16, 16, 8), perm=[0, 2, 3, 1]),
        "concat": one("Concat", [IMAGE, IMAGE], (1, 16, 16, 16), axis=1),
        "slice": one("Slice", [IMAGE], (1, 8, 8, 16), [_ints(0), _ints(8), _ints(2)]),
        "gather": one("Gather", [ROWS], (2, 32), [_ints(0, 2)]),
        "scatter": one("ScatterElements", [ROWS], ROWS, [np.zeros((1, 32), np.int64), _normal(1, 32)]),
        "pad-reflect": one("Pad", [IMAGE], (1, 8, 18, 18), [_ints(0, 0, 1, 1, 0, 0, 1, 1)], mode="reflect"),
        "pad-wrap": one("Pad", [IMAGE], (1, 8, 18, 18), [_ints(0, 0, 1, 1, 0, 0, 1, 1)], mode="wrap"),
        "space-to-depth": one("SpaceToDepth", [IMAGE], (1, 32, 8, 8), blocksize=2),
        "center-crop": one("CenterCropPad", [IMAGE], (1, 8, 10, 10), [_ints(1, 8, 10, 10)]),
        "grid-sample": one("GridSample", [IMAGE, (1, 4, 4, 2)], (1, 8, 4, 4)),
        "trilu": one("Trilu", [ROWS], ROWS, upper=1),
        "cast": one("Cast", [ROWS], ROWS, made=I32, to=I32),
        "reverse": one("ReverseSequence", [ROWS], ROWS, [_ints(*[3] * 4)], batch_axis=0, time_axis=1),
    }  # fmt: skip


def _reduced() -> dict[str, OnnxModel]:
    return {
        "global-average": one("GlobalAveragePool", [IMAGE], (1, 8, 1, 1)),
        "reduce-mean": one("ReduceMean", [IMAGE], (1, 8, 1, 1), [_ints(2, 3)]),
        "reduce-logsum": one("ReduceLogSum", [(2, 3)], (2, 1), [_ints(1)]),
        "reduce-l1": one("ReduceL1", [ROWS], (4, 1), [_ints(1)]),
        "argmax-last": one("ArgMax", [ROWS], (4, 1), made=I64, axis=1, select_last_index=1),
        "argmax": one("ArgMax", [ROWS], (4, 1), made=I64, axis=1),
        "cumsum": one("CumSum", [ROWS], ROWS, [np.array(1, np.int64)]),
        "lp-norm": one("LpNormalization", [ROWS], ROWS, axis=1, p=2),
        "mean-variance": one("MeanVarianceNormalization", [IMAGE], IMAGE),
    }


def _odd() -> dict[str, OnnxModel]:
    return {
        "one-hot": one("OneHot", [(4,)], (4, 5), [_ints(5), np.array([0, 1], np.float32)], kind=I64, made=F32, axis=1),
        "roi-align": one("RoiAlign", [IMAGE], (1, 8, 4, 4), [np.array([[1, 1, 9, 9]], np.float32), _ints(0)], opset=22,
                         output_height=4, output_width=4),
        "det": one("Det", [(3, 4, 4)], (3,)),
        "einsum": one("Einsum", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), equation="bij,bjk->bik"),
        "bernoulli": one("Bernoulli", [ROWS], ROWS),
        "hann-window": one("HannWindow", [], (16,), [np.array(16, np.int64)]),
        "dft": one("DFT", [(1, 16, 1)], (1, 16, 2), [None, np.array(1, np.int64)]),
        "eye": one("EyeLike", [(4, 4)], (4, 4)),
        "max-unpool": one("MaxUnpool", [(1, 1, 2, 2)], (1, 1, 4, 4), [np.array([[[[0, 2], [8, 10]]]], np.int64)],
                          kernel_shape=[2, 2], strides=[2, 2]),
        "col2im": one("Col2Im", [(1, 4, 4)], (1, 1, 4, 4), [_ints(4, 4), _ints(2, 2)], strides=[2, 2]),
    }  # fmt: skip
