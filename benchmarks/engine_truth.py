"""What an engine really does with a model of one operator, found by running or building it with the engine's own API.

By other ways than `hasten check` goes: ONNX Runtime's trace of what it ran, OpenVINO's counters of what it ran and the
arithmetic of ONNX's own evaluator, the builder of TensorRT-RTX.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hasten.model import OnnxModel

CLOSE = {"rtol": 5e-3, "atol": 5e-3}
Feed = Mapping[str, np.ndarray]


def onnxruntime(model: OnnxModel, feed: Feed) -> str:
    """Native where the trace of a call without optimizations has this operator and no other."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.enable_profiling = 4, 1, True
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = f"{folder}/trace"
        try:
            session = ort.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
            session.run(None, dict(feed))
        except Exception:
            return "refused"
        events = json.loads(Path(session.end_profiling()).read_text())
    ran = {e["args"]["op_name"] for e in events if e.get("cat") == "Node" and "op_name" in e.get("args", {})}
    return "native" if ran <= {model.proto.graph.node[0].op_type} else "falls back"


def openvino(model: OnnxModel, feed: Feed) -> str:
    """Refused where it does not compile or answers other than ONNX's evaluator and ONNX Runtime do."""
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True, "INFERENCE_NUM_THREADS": 1}
    try:
        compiled = core.compile_model(core.read_model(model.proto.SerializeToString()), "CPU", settings)
        request = compiled.create_infer_request()
        answer = request.infer({port.get_any_name(): feed[port.get_any_name()] for port in compiled.inputs})
    except Exception:
        return "refused"
    given = np.asarray(next(iter(answer.values())))
    if model.proto.graph.node[0].op_type != "Bernoulli" and not any(_same(given, r) for r in _right(model, feed)):
        return "refused"
    kinds = {info.node_type for info in request.get_profiling_info() if info.status == info.Status.EXECUTED}
    return "falls back" if "Reference" in kinds else "native"


def _right(model: OnnxModel, feed: Feed) -> list[np.ndarray]:
    """What others answer; nothing that can be told differs from an empty list, so that there is always one."""
    import onnxruntime as ort
    from onnx.reference import ReferenceEvaluator

    def by_runtime() -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        content = model.proto.SerializeToString()
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, dict(feed))[0]

    def by_evaluator() -> Any:
        return ReferenceEvaluator(model.proto).run(None, dict(feed))[0]

    found = []
    ways: tuple[Callable[[], Any], ...] = (by_runtime, by_evaluator)
    for way in ways:
        try:
            found.append(np.asarray(way()))
        except Exception:
            continue
    assert found, "nobody can tell what is right"
    return found


def _same(answer: np.ndarray, right: np.ndarray) -> bool:
    if answer.shape != right.shape:
        return False
    if right.dtype.kind == "f":
        return bool(np.allclose(answer.astype(np.float64), right.astype(np.float64), equal_nan=True, **CLOSE))
    apart = np.abs(answer.astype(np.int64) - right.astype(np.int64)).max(initial=0)
    return bool(apart <= (1 if right.dtype.itemsize == 1 and right.dtype.kind in "iu" else 0))


def tensorrt(model: OnnxModel, feed: Feed) -> str:
    """Refused where the parser says that the model is not supported, or nothing comes out of the builder."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser, content = trt.OnnxParser(network, logger), model.proto.SerializeToString()
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        Path(file.name).write_bytes(content)
        if not parser.parse_from_file(file.name):
            return "refused"
    config = builder.create_builder_config()
    if feed and builder.build_serialized_network(network, config) is None:
        return "refused"
    narrowed = any(network.get_input(i).dtype != _asked(trt, model, i) for i in range(network.num_inputs))
    return "falls back" if narrowed else "native"


def _asked(trt: Any, model: OnnxModel, place: int) -> Any:
    """The type of an input as the file has it; TensorRT has no word for float64."""
    kinds = {
        "float32": trt.float32, "float16": trt.float16, "int64": trt.int64, "int32": trt.int32, "int8": trt.int8,
        "uint8": trt.uint8, "bool": trt.bool,
    }  # fmt: skip
    return kinds.get(model.signature.inputs[place].dtype)


TRUTH: Mapping[str, Callable[[OnnxModel, Feed], str]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "tensorrt": tensorrt,
}
