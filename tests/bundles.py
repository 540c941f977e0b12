"""Small bundles: networks whose weights come from a seeded generator, real samples for them, and a way to forge."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.engine import Engine
from hasten.find import engine as find_engine
from hasten.manifest import BLANK
from hasten.pipeline import Pipeline
from hasten.stage import Stage

FEATURES, HIDDEN, CLASSES = 6, 8, 3


def save(path: Path, nodes: list[onnx.NodeProto], inputs: dict, outputs: dict, weights: dict[str, np.ndarray]) -> Path:
    """A file of these nodes; `inputs` and `outputs`: name -> shape, all f32."""

    def tensors(shapes: dict) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "net", tensors(inputs), tensors(outputs), constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    body = rng.normal(size=(FEATURES, HIDDEN)).astype(np.float32)
    return {"body": body, "head": rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32)}


def whole(path: Path, batch: int | str = "N", seed: int = 0, int8: bool = False) -> Path:
    """x [batch, 6] -> logits [batch, 3]; `int8`: the features go through a grid of 256 steps."""
    constants = weights(seed)
    nodes = [helper.make_node("MatMul", ["x", "body"], ["h"]), helper.make_node("Relu", ["h"], ["features"])]
    if int8:
        constants |= {"step": np.float32(0.05), "zero": np.uint8(0)}
        nodes.append(helper.make_node("QuantizeLinear", ["features", "step", "zero"], ["grid"]))
        nodes.append(helper.make_node("DequantizeLinear", ["grid", "step", "zero"], ["rounded"]))
    nodes.append(helper.make_node("MatMul", ["rounded" if int8 else "features", "head"], ["logits"]))
    return save(path, nodes, {"x": [batch, FEATURES]}, {"logits": [batch, CLASSES]}, constants)


def encoder(path: Path, batch: int | str = "N") -> Path:
    """x -> features [batch, 8]: the first half of `whole`."""
    nodes = [helper.make_node("MatMul", ["x", "body"], ["h"]), helper.make_node("Relu", ["h"], ["features"])]
    inputs, outputs = {"x": [batch, FEATURES]}, {"features": [batch, HIDDEN]}
    return save(path, nodes, inputs, outputs, {"body": weights()["body"]})


def head(path: Path, batch: int | str = "N") -> Path:
    """features -> logits: the second half of `whole`."""
    nodes = [helper.make_node("MatMul", ["features", "head"], ["logits"])]
    inputs, outputs = {"features": [batch, HIDDEN]}, {"logits": [batch, CLASSES]}
    return save(path, nodes, inputs, outputs, {"head": weights()["head"]})


def pool(path: Path, frames: int) -> Path:
    """features [N, frames, 8], their mean over time -> logits."""
    nodes = [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs, outputs = {"features": ["N", frames, HIDDEN]}, {"logits": ["N", CLASSES]}
    return save(path, nodes, inputs, outputs, {"head": weights()["head"]})


def answers(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """What `whole` computes, in f64."""
    w = weights(seed)
    return np.maximum(x.astype(np.float64) @ w["body"], 0) @ w["head"]


def samples(n: int = 40, seed: int = 1) -> Data:
    return Data({"x": np.random.default_rng(seed).normal(size=(n, FEATURES)).astype(np.float32)})


def engine(threads: int = 1) -> Engine:
    return find_engine("onnxruntime")(threads=threads)


def make(target: Path, **changed: Any) -> Bundle:
    """A bundle of `whole` that answers with classes; `changed` are arguments of Bundle.write."""
    source = target.parent / "whole.onnx"
    if "stages" not in changed:
        changed["stages"] = [Stage.of(whole(source), engine())]
    given = {
        "pipeline": Pipeline(answer=Answer("classes", labels=("a", "b", "c"))),
        "recipe": "simplify",
        "measurements": {"latency_p50_ms": 0.5},
        "conditions": {"cpu": "a CPU"},
        "cases": samples(),
        "report": "<html></html>",
    }
    return Bundle.write(target, **given | changed)


def forge(folder: Path, edit: Callable[[dict[str, Any]], object] = lambda _: None, *, digests: bool = True) -> None:
    """Edit bundle.json and seal it again, as somebody would who wants to hide it; `digests`: those of the files too."""
    path = folder / "bundle.json"
    data = json.loads(path.read_text())
    if digests:
        data["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in data["files"]}
    edit(data)
    text = json.dumps(data | {"seal": BLANK})
    path.write_text(text.replace(BLANK, hashlib.sha256(text.encode()).hexdigest(), 1))
