"""OpenVINO on the CPU. The precision is always said: its own default is bf16 wherever the CPU has it."""

import importlib.metadata
import importlib.util
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hasten.engine import Compiled, Engine, Layer, Profile
from hasten.engines._source import source
from hasten.errors import InputError
from hasten.measure import machine
from hasten.model import Arrays, OnnxFile, OnnxModel

if TYPE_CHECKING:
    import openvino

_HEAVY = {
    "Convolution", "Deconvolution", "DeformableConvolution", "BinaryConvolution", "FullyConnected", "MatMul", "RNNCell",
    "RNNSeq", "ScaledDotProductAttention", "MHA", "LLMMLP", "QKVProjection",
}  # fmt: skip
_HELD = {"Input", "Output", "Const"}  # in the executed graph, but nothing that is executed
_HINTS: tuple[Literal["f32", "bf16"], ...] = ("f32", "bf16")
_PRODUCTS = {"MatMul", "Convolution", "GroupConvolution"}  # as the graph that was read calls them
WARM = 10  # calls before those that count, where time is kept; or as many as count
_INT8 = {"I8": "i8", "u8": "i8"}  # its words for bytes of either sign, beside i8


@dataclass(frozen=True)
class OpenVino(Engine):
    """One request at a time, tuned for latency; nothing is cached on disk."""

    hint: Literal["f32", "bf16"] = "f32"  # what floating-point layers are computed in
    streams: int = 1  # into which the threads are divided
    transforms: bool = True  # False: the low-precision transforms, which can change the numbers of a QDQ graph, are off

    @classmethod
    def missing(cls) -> str | None:
        found = importlib.util.find_spec("openvino")
        return None if found else "openvino is not installed: pip install 'hasten[openvino]'"

    @classmethod
    def version(cls) -> str:
        return importlib.metadata.version("openvino")

    @classmethod
    def variants(cls, quantized: bool) -> tuple["OpenVino", ...]:
        """The transforms are taken away only at f32, where that brings back the numbers of the file."""
        plain = tuple(cls(hint=h) for h in _HINTS if h == "f32" or _has_bf16())
        return (*plain, cls(transforms=False)) if quantized else plain

    @property
    def precision(self) -> str:
        return self.hint

    @property
    def fallback(self) -> bool:
        """INT8 layers run in floating point without the transforms: slower, and the file's own numbers."""
        return not self.transforms

    def _compile(self, model: OnnxModel | OnnxFile) -> Compiled:
        return _Request(self, model)


class _Request(Compiled):
    def __init__(self, engine: OpenVino, model: OnnxModel | OnnxFile) -> None:
        self._engine, self._model = engine, model
        core = load().Core()
        try:
            network = core.read_model(source(model))
            self._compiled = core.compile_model(network, "CPU", _settings(engine))
        except RuntimeError as fault:
            raise InputError(f"openvino refuses the model: {reason(fault)}", "try another engine") from fault
        self._products = {o.get_friendly_name() for o in network.get_ops() if o.get_type_name() in _PRODUCTS}
        self._request = self._compiled.create_infer_request()
        self._inputs = [(t.name, _place(self._compiled.inputs, t.name)) for t in model.signature.inputs]
        self._outputs = [(t.name, _place(self._compiled.outputs, t.name)) for t in model.signature.outputs]
        self._shared: list[openvino.Tensor] = []

    def run(self, feed: Arrays) -> dict[str, np.ndarray]:
        """Inputs are shared, unless read-only; outputs are copied, as a larger batch moves the engine's own memory."""
        from openvino import Tensor

        arrays = [np.require(feed[name], requirements=("C", "W")) for name, _ in self._inputs]
        self._shared = [Tensor(array, shared_memory=True) for array in arrays]
        for tensor, (_, place) in zip(self._shared, self._inputs, strict=True):
            self._request.set_input_tensor(place, tensor)
        answer = list(self._request.infer(share_outputs=False).values())
        return {name: answer[place] for name, place in self._outputs}

    def layers(self) -> list[Layer]:
        return self._executed(self._compiled)

    def profile(self, feed: Arrays, calls: int) -> Profile:
        """From its own counters: means of all calls so far, in whole microseconds, so that warm ones are taken off."""
        core = load().Core()
        settings = _settings(self._engine) | {"PERF_COUNT": True}
        twin = core.compile_model(core.read_model(source(self._model)), "CPU", settings)
        request = twin.create_infer_request()
        inputs = {place: feed[name] for name, place in self._inputs}
        warm, means, call_ms = min(WARM, calls), [], 0.0
        for count in (warm, calls):
            began = time.perf_counter()
            for _ in range(count):
                request.infer(inputs)
            call_ms = (time.perf_counter() - began) * 1e3 / count
            ran = (i for i in request.get_profiling_info() if i.status == i.Status.EXECUTED)
            means.append({i.node_name: 1e3 * i.real_time.total_seconds() for i in ran})
        cold, both = means
        spent = (
            (layer, max(0.0, (both[layer.name] * (calls + warm) - cold.get(layer.name, 0.0) * warm) / calls))
            for layer in self._executed(twin)
            if layer.name in both
        )
        return Profile(tuple(spent), call_ms)

    def _executed(self, compiled: Any) -> list[Layer]:
        executed = compiled.get_runtime_model().get_ordered_ops()
        layers = [self._layer(op.get_friendly_name(), op.get_rt_info()) for op in executed]
        return [layer for layer in layers if layer.op not in _HELD]

    def _layer(self, name: str, said: Any) -> Layer:
        """Precision is the kernel's, `brgemm_avx512_f32`; `runtimePrecision` is the weights' where they are packed."""
        op, kernel, made_of = (said[k].astype(str) for k in ("layerType", "primitiveType", "originalLayersNames"))
        of = tuple(part for part in made_of.split(",") if part)
        attention = op == "Subgraph" and not self._products.isdisjoint(of)
        precision = kernel.rpartition("_")[2]
        return Layer(name, op, _INT8.get(precision, precision), op in _HEAVY or attention, of)

    def close(self) -> None:
        self._request, self._compiled, self._shared = None, None, []


def load() -> Any:
    """The package, with its telemetry off: without this, importing it sends a note to its maker, unasked."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
    import openvino

    return openvino


def _settings(engine: OpenVino) -> dict[str, Any]:
    settings = {
        "INFERENCE_PRECISION_HINT": engine.hint,
        "EXECUTION_MODE_HINT": "PERFORMANCE",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": engine.threads or machine.threads(),
        "NUM_STREAMS": engine.streams,
    }
    return settings if engine.transforms else settings | {"LP_TRANSFORMS_MODE": "NO"}


def _has_bf16() -> bool:
    """As OpenVINO sees this CPU; false where it is not installed."""
    return OpenVino.missing() is None and "BF16" in load().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def reason(fault: RuntimeError) -> str:
    """The last line of several that is about the model; where it was thrown and where to read on are left out."""
    lines = [line.strip(" -") for line in str(fault).splitlines() if "documentation:" not in line]
    return next((line for line in reversed(lines) if line), "no reason given")[:300]


def _place(ports: Any, name: str) -> int:
    """The index of the port that carries an ONNX value; a port can have several names."""
    found = [i for i, port in enumerate(ports) if name in port.get_names()]
    if not found:
        raise InputError(f"openvino has lost {name!r} while reading the model", "try another engine")
    return found[0]
