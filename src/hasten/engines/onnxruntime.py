"""ONNX Runtime on the CPU. INT8 comes from the graph: it fuses DequantizeLinear, operator, QuantizeLinear in a row."""

import importlib.metadata
import importlib.util
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.engine import Compiled, Engine, Layer, Profile
from hasten.engines._source import source
from hasten.measure import machine
from hasten.model import Arrays, OnnxFile, OnnxModel

if TYPE_CHECKING:
    import onnx

_QUIET = 3  # its level for errors: warnings on unused weights or on the graph that it writes are not the user's
_INT8 = {
    "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm", "QAttention",
    "DynamicQuantizeLSTM", "QLinearConv", "QLinearMatMul",
}  # fmt: skip
_FLOAT = {
    "Conv", "ConvTranspose", "DeformConv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul",
    "TransposeMatMul", "MatMulNBits", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention",
    "GroupQueryAttention",
}  # fmt: skip
_SHORT = {1: "f32", 2: "i8", 3: "i8", 6: "i32", 7: "i64", 10: "f16", 11: "f64", 16: "bf16"}  # TensorProto.DataType
_FLOATS = (1, 10, 11, 16)
_OUTER = {"If", "Loop", "Scan"}  # whose time is that of the nodes inside
_LAYOUT = {"ReorderInput", "ReorderOutput"}  # of no node of the file, though they write values of the same names
_ANEW = re.compile(r"(_nchwc|_token_\d+)+$")  # behind a node's or value's name that is put in another layout
WARM = 10  # calls before those that count, or as many as count


@dataclass(frozen=True)
class OnnxRuntime(Engine):
    """The CPU provider with every graph optimization, operators one after another."""

    turns: bool = False  # other files take turns with this one: see in_turns

    @classmethod
    def missing(cls) -> str | None:
        found = importlib.util.find_spec("onnxruntime")
        return None if found else "onnxruntime is not installed: pip install 'hasten[onnxruntime]'"

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version("onnxruntime")

    @classmethod
    def variants(cls, quantized: bool) -> tuple["OnnxRuntime", ...]:
        return (cls(),)

    @property
    def precision(self) -> str:
        return "f32"

    def in_turns(self) -> "OnnxRuntime":
        """With threads that sleep between calls: those that spin on made the next session's call twice as long."""
        return replace(self, turns=True)

    def _compile(self, model: OnnxModel | OnnxFile) -> Compiled:
        return _Session(self, model)


class _Session(Compiled):
    def __init__(self, engine: OnnxRuntime, model: OnnxModel | OnnxFile) -> None:
        self._engine, self._model = engine, model
        self._outputs = [t.name for t in model.signature.outputs]
        self._session = _open(engine, model)

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))

    def layers(self) -> list[Layer]:
        """Read from a twin, same file and same options, that writes down the graph it is about to execute.

        The session that is timed does not write: that would make it slower to start, and larger, than it is in service.
        """
        with tempfile.TemporaryDirectory() as folder:
            _open(self._engine, self._model, Path(folder) / "executed.onnx")
            return list(_read(_executed(folder), {}))

    def profile(self, feed: Arrays, calls: int) -> Profile:
        """From its own trace, in whole microseconds; a node that runs others has their time, and is left out."""
        warm = min(WARM, calls)
        with tempfile.TemporaryDirectory() as folder:
            session = _open(self._engine, self._model, Path(folder) / "executed.onnx", Path(folder) / "trace")
            for _ in range(warm):
                session.run(self._outputs, feed)
            began = time.perf_counter()
            for _ in range(calls):
                session.run(self._outputs, feed)
            call_ms = (time.perf_counter() - began) * 1e3 / calls
            events = json.loads(Path(session.end_profiling()).read_text())
            known = _by_name(list(_read(_executed(folder), {})))
        spent: dict[tuple[str, str, str], list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and (op := event["args"]["op_name"]) not in _OUTER:
                name = event["name"].removesuffix("_kernel_time")
                spent.setdefault((name, op, event["args"]["node_index"]), []).append(event["dur"] / 1e3)
        found = []
        for (name, op, index), times in spent.items():
            same = known.get(name) or (known.get(op) if name == f"{op}_{index}" else None)
            layer = next(same or iter(()), None) or Layer(name, op, "", heavy=False)
            found.append((layer, sum(times[len(times) * warm // (calls + warm) :]) / calls))
        return Profile(tuple(found), call_ms)

    def close(self) -> None:
        self._session = None


def _open(
    engine: OnnxRuntime, model: OnnxModel | OnnxFile, executed: Path | None = None, trace: Path | None = None
) -> Any:
    """An InferenceSession.

    Args:
        executed: where the optimized graph is written, its weights in a file beside it.
        trace: how the file begins in which it writes what each node took.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = engine.threads or machine.threads()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if engine.turns:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if trace:
        options.enable_profiling, options.profile_file_prefix = True, str(trace)
    if executed:
        options.optimized_model_filepath = str(executed)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    read = source(model)
    return onnxruntime.InferenceSession(
        read if isinstance(read, bytes) else str(read), options, providers=["CPUExecutionProvider"]
    )


def _executed(folder: str) -> "onnx.GraphProto":
    import onnx

    return onnx.load(Path(folder) / "executed.onnx", load_external_data=False).graph


def _by_name(layers: list[Layer]) -> dict[str, Iterator[Layer]]:
    """Those of one name in their order; one without a name has that of its operator, as in a trace."""
    found: dict[str, list[Layer]] = {}
    for layer in layers:
        found.setdefault(layer.name or layer.op, []).append(layer)
    return {name: iter(same) for name, same in found.items()}


def _read(graph: "onnx.GraphProto", around: Mapping[str, int]) -> Iterator[Layer]:
    """The layers of a graph and of the graphs inside its nodes; `around`: types of the values that it can see."""
    values = (*graph.input, *graph.value_info, *graph.output)
    types = dict(around) | {w.name: w.data_type for w in graph.initializer}
    types |= {v.name: v.type.tensor_type.elem_type for v in values}
    for node in graph.node:
        kind = _type(node, types)
        for name in node.output:
            types.setdefault(name, kind)
        heavy = node.op_type in _INT8 | _FLOAT
        precision = "i8" if _integer(node) else _SHORT.get(kind, str(kind))
        of = tuple(n for n in (_ANEW.sub("", node.name), *node.output) if n and node.op_type not in _LAYOUT)
        yield Layer(node.name, node.op_type, precision, heavy, of)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _read(inner, types)


def _integer(node: "onnx.NodeProto") -> bool:
    """Whether it multiplies bytes. Packed weights (MatMulNBits) are unpacked to floats first, unless told otherwise."""
    level = next((a.i for a in node.attribute if a.name == "accuracy_level"), 0)
    return node.op_type in _INT8 or node.op_type.startswith("QLinear") or (node.op_type == "MatMulNBits" and level == 4)


def _type(node: "onnx.NodeProto", types: Mapping[str, int]) -> int:
    """The element type that a node works in, where the file does not say it of every value: floats before integers."""
    if node.op_type == "Cast":
        return int(next(a.i for a in node.attribute if a.name == "to"))
    known = [types[name] for name in node.input if types.get(name)]
    return next((t for t in known if t in _FLOATS), known[0] if known else 1)
