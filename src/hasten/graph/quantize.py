"""quantize: 32-bit floats to 8-bit integers, written into the graph as QuantizeLinear and DequantizeLinear (QDQ)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal, overload

import numpy as np

from hasten.data import Data
from hasten.errors import MissingError, NotApplicable, UsageError
from hasten.graph import _nncf, _onnxruntime, _placed
from hasten.graph._equalize import equalized
from hasten.graph._masks import clamped, masked_nodes
from hasten.graph._ranges import Estimator
from hasten.graph.simplify import simplified
from hasten.model import Arrays, Model, OnnxModel
from hasten.provenance import nodes
from hasten.technique import Technique

if TYPE_CHECKING:
    from hasten.task import Task

Method = Literal["nncf", "onnxruntime", "placed", "dynamic", "weights"]
_READS = {  # which settings each method reads, beside dtype and method
    "nncf": {
        "ops",
        "samples",
        "ranges",
        "symmetric",
        "transformer",
        "smooth_quant",
        "full_bias_correction",
        "activations_per_channel",
    },
    "onnxruntime": {"ops", "samples", "symmetric", "ranges", "weights_per_channel", "reduce_range"},
    "placed": {"ops", "engine", "samples", "symmetric", "ranges", "bias_correction", "spare", "equalize"},
    "dynamic": {"ops", "weights_per_channel", "reduce_range"},
    "weights": {"block"},
}
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS = frozenset({"MatMul", "Gemm"})
_INT8 = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "MatMulNBits",
    "QLinearConv", "QLinearMatMul",
})  # fmt: skip
SPARED = (0.1, 0.25, 0.5)  # shares of the layers, one after another, while too much is lost
BLOCKS = (16, 32, 64, 128, 256)
_FEED = 8  # samples a run while ONNX Runtime calibrates: what one run leaves behind is all that is held in memory


@dataclass(frozen=True)
class Quantize(Technique):
    """INT8 weights and activations with ranges measured on calibration data, or INT8 products.

    The graph is simplified first. The constants of padding masks are kept out of calibration. A setting that the method
    does not read is refused. Which method pays depends on the network and on the engine: measure each pair. Not for a
    file that holds INT8 already, nor for one without convolutions and matrix products.

    Settings:
        dtype: of weights and activations; int4 is for weights alone. [int4: weights]
        method: `nncf` (bias correction; https://github.com/openvinotoolkit/nncf), `onnxruntime` (Q and DQ where that
            engine fuses them; https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html), `placed`
            (our own: every convolution and product in INT8 on both engines, with the ranges and corrections below),
            `dynamic` (no calibration data; only where there are no convolutions), `weights` (only the weights of matrix
            products, by blocks, as ONNX Runtime's MatMulNBits: for networks whose time goes into reading them).
        ops: operator types to quantize; empty: all that the method knows. [all but weights]
        samples: calibration samples that are looked at, spread evenly over the data. [all but dynamic and weights]
        symmetric: activation ranges around zero; weights are always so. [as samples]
        transformer: spare what attention is sensitive to, and smooth activations before the ranges are taken. [nncf]
        smooth_quant: False leaves the smoothing out (Xiao et al. 2022, arXiv:2211.10438). [nncf, with transformer]
        full_bias_correction: layer by layer on the quantized graph, slow, in place of the fast estimate. [nncf]
        activations_per_channel: of depthwise convolutions; False is faster where engines want one scale. [nncf]
        ranges: how a tensor's range is chosen from what it held; default: nncf takes the mean over samples of each
            one's extremes, onnxruntime the extremes of all, placed that which changes the values least (mse). [nncf:
            minmax; onnxruntime: minmax, entropy, percentile; placed: all]
        engine: for whose fusions Q and DQ are placed; tensorrt: as its parser wants them (hasten.graph.lint), in int8
            around zero, for TensorRT 10, 11 and RTX alike. [placed]
        bias_correction: add to biases what rounding the weights took from the mean output. [placed]
        spare: share of the layers that stay in floats, those that change the answers most when they alone are in INT8.
            [placed]
        equalize: move scales into neighbours first: weights, whose ranges become equal in each two layers, one pass
            over all (cross-layer equalization, Nagel et al. 2019, arXiv:1906.04721); activations, half of whose
            outliers go into the weights (SmoothQuant, Xiao et al. 2022, arXiv:2211.10438). [placed]
        weights_per_channel: a scale for each output channel; False: one for the tensor. [onnxruntime, dynamic]
        block: weights that share a scale. [weights]
        reduce_range: 7-bit weights, for CPUs without VNNI whose 16-bit sums overflow. [onnxruntime, dynamic]
    """

    dtype: Literal["int8", "int4"] = "int8"
    method: Method = "nncf"
    ops: tuple[str, ...] = ()
    samples: int = 300
    symmetric: bool = False
    transformer: bool = False
    smooth_quant: bool = True
    full_bias_correction: bool = False
    activations_per_channel: bool = True
    ranges: Literal["default", "minmax", "entropy", "percentile", "mse"] = "default"
    engine: Literal["onnxruntime", "openvino", "tensorrt"] = "onnxruntime"
    bias_correction: bool = True
    spare: float = 0.0
    equalize: Literal["no", "weights", "activations"] = "no"
    weights_per_channel: bool = True
    reduce_range: bool = False
    block: int = 32

    takes: ClassVar[Literal["torch", "onnx"]] = "onnx"

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a setting that the method does not read, or a number out of range.
        """
        reads = _READS[self.method] | {"dtype", "method"}
        for field in fields(self):
            if getattr(self, field.name) != field.default and field.name not in reads:
                owners = " or ".join(f"method={m}" for m, names in _READS.items() if field.name in names)
                raise UsageError(f"quantize with method={self.method} does not read {field.name}", f"use {owners}")
        if self.dtype == "int4" and self.method != "weights":
            raise UsageError(f"quantize with method={self.method} has no int4", "use method=weights")
        if self.block not in BLOCKS:
            raise UsageError(f"quantize has no block={self.block}", f"give one of {', '.join(map(str, BLOCKS))}")
        if self.method == "nncf" and self.ranges in ("entropy", "percentile", "mse"):
            raise UsageError(f"quantize with method=nncf has no ranges={self.ranges}", "use method=placed")
        if self.method == "onnxruntime" and self.ranges == "mse":
            raise UsageError("quantize with method=onnxruntime has no ranges=mse", "use method=placed")
        if not 0 <= self.spare < 1:
            raise UsageError(f"quantize cannot spare={self.spare}", "give a share from 0 to below 1")
        if not self.smooth_quant and not self.transformer:
            raise UsageError("quantize smooths nothing without transformer=True", "leave smooth_quant away")
        if self.samples < 1:
            raise UsageError(f"quantize cannot calibrate with samples={self.samples}", "give at least 1")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # of this instance: two methods need no data
        return frozenset() if self.method in ("dynamic", "weights") else frozenset({"calibrate"})

    @property
    def estimator(self) -> Estimator:
        """How `placed` chooses ranges."""
        return "mse" if self.ranges == "default" else self.ranges

    @classmethod
    def missing(cls) -> str | None:
        for package in ("onnxscript", "onnxruntime"):
            if find_spec(package) is None:
                return f"{package} is not installed: pip install 'hasten[quantize]'"
        return None

    @classmethod
    def variants(cls, model: OnnxModel) -> tuple["Quantize", ...]:
        """Static settings of both libraries, for attention where there is some; dynamic where nothing convolves."""
        kinds = _kinds(model)
        if _refusal(kinds):
            return ()
        heavy = tuple(sorted(kinds & (_CONVOLUTIONS | _PRODUCTS)))
        attention = [
            cls(transformer=True, ranges="minmax"),
            cls(transformer=True),
            cls(transformer=True, smooth_quant=False, ranges="minmax"),
        ]
        depthwise = [cls(ranges="minmax", activations_per_channel=False), cls(activations_per_channel=False)]
        nncf = [
            *(attention if "Softmax" in kinds and "MatMul" in kinds else []),
            cls(ranges="minmax"),
            cls(),
            *(depthwise if _has_depthwise(model) else []),
            cls(symmetric=True, ranges="minmax"),
        ]
        runtime = [
            cls(method="onnxruntime"),
            cls(method="onnxruntime", ops=heavy),
            cls(method="onnxruntime", ranges="entropy"),
        ]
        placed = [
            cls(method="placed"),
            cls(method="placed", engine="openvino"),
            cls(method="placed", ranges="minmax"),
            *([cls(method="placed", engine="tensorrt")] if _has_tensorrt() else []),
            *([cls(method="placed", equalize="activations")] if "Softmax" in kinds and "MatMul" in kinds else []),
        ]
        static = [*placed, *(nncf if find_spec("nncf") else []), *runtime]
        if kinds & _CONVOLUTIONS:
            return tuple(static)
        weights = [cls(method="weights"), cls("int4", method="weights")] if _products_with_weights(model) else []
        return (*static, cls(method="dynamic"), *weights)

    @property
    def milder(self) -> "Quantize | None":
        """More of the layers that hurt stay in floats, in bf16 or f32 as the engine is set."""
        if self.method != "placed":
            return None
        more = next((share for share in SPARED if share > self.spare), None)
        return None if more is None else replace(self, spare=more)

    @classmethod
    def presets(cls, task: "Task", epochs: int) -> tuple[Technique, ...]:
        """The layers that hurt most spared, and none."""
        return cls(method="placed", spare=0.1), cls(method="placed")

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: INT8 already, nothing to quantize, or dynamic on a graph that convolves.
            MissingError: the method's package is not installed.
        """
        assert isinstance(model, OnnxModel)
        kinds = _kinds(model)
        if reason := _refusal(kinds) or self._unfit(kinds):
            raise NotApplicable(f"{self} has nothing to do: {reason}")
        graph = simplified(model.proto)
        if self.method == "dynamic":
            return OnnxModel(_onnxruntime.dynamic(graph, self))
        if self.method == "weights":
            made = OnnxModel(_onnxruntime.weights(graph, self))
            if "MatMulNBits" not in _kinds(made):
                raise NotApplicable(f"{self} has nothing to do: the graph has no MatMul with a matrix of weights")
            return made
        if self.method == "nncf" and not find_spec("nncf"):
            raise MissingError("nncf is not installed", "pip install 'hasten[quantize]'")
        size = model.signature.fixed_batch if self.method == "nncf" or not model.signature.batch else _FEED
        feeds = _Feeds(task.split("calibrate"), self.samples, size)
        skip = masked_nodes(graph)  # before they are clamped: afterwards they look like any constant
        way = {"nncf": _nncf, "onnxruntime": _onnxruntime, "placed": _placed}[self.method]
        graph = clamped(graph, feeds[:2])
        if self.equalize != "no":
            graph = equalized(graph, self.equalize, feeds)
        return OnnxModel(way.static(graph, self, feeds, skip))

    def _unfit(self, kinds: set[str]) -> str | None:
        if self.ops and not kinds.intersection(self.ops):
            return f"the graph has no {' and no '.join(self.ops)}"
        if self.method == "dynamic" and kinds & _CONVOLUTIONS:
            return "dynamic is for graphs without convolutions"
        return None


class _Feeds(Sequence[Arrays]):
    """Calibration samples as inputs of one call each, read when they are asked for."""

    def __init__(self, data: Data, samples: int, size: int) -> None:
        """
        Args:
            samples: taken at even distances, since data often comes sorted.
            size: samples a call; the last call is filled up from the first of its samples.
        """
        self._data, self._size = data, size
        self._rows = np.unique(np.linspace(0, len(data) - 1, min(samples, len(data))).round().astype(int))

    def __len__(self) -> int:
        return -(-len(self._rows) // self._size)

    @overload
    def __getitem__(self, i: int) -> Arrays: ...

    @overload
    def __getitem__(self, i: slice) -> list[Arrays]: ...

    def __getitem__(self, i: int | slice) -> Arrays | list[Arrays]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not 0 <= i < len(self):
            raise IndexError(i)
        rows = np.resize(self._rows[i * self._size : (i + 1) * self._size], self._size)
        return {name: np.ascontiguousarray(array[rows]) for name, array in self._data.inputs.items()}


def _kinds(model: OnnxModel) -> set[str]:
    return {node.op_type for node in nodes(model.proto.graph)}


def _refusal(kinds: set[str]) -> str | None:
    """Why no setting can quantize a graph of these operators; None where one can."""
    if done := sorted(kinds & _INT8):
        return f"the graph holds INT8 already ({', '.join(done)})"
    return None if kinds & (_CONVOLUTIONS | _PRODUCTS) else "it has no convolution and no matrix product"


def _products_with_weights(model: OnnxModel) -> bool:
    """Whether there is a MatMul with a constant matrix, which MatMulNBits can hold."""
    matrices = {w.name for w in model.proto.graph.initializer if len(w.dims) == 2}
    return any(n.op_type == "MatMul" and n.input[1] in matrices for n in nodes(model.proto.graph))


def _has_tensorrt() -> bool:
    """Whether an engine that reads such a file runs here."""
    from hasten.find import engine

    return any(engine(name).missing() is None for name in ("tensorrt", "tensorrt_rtx"))


def _has_depthwise(model: OnnxModel) -> bool:
    groups = (a.i for n in nodes(model.proto.graph) if n.op_type == "Conv" for a in n.attribute if a.name == "group")
    return any(group > 1 for group in groups)
