"""The stages of a bundle as one graph, so that its layers can be compared with those of the network it came from."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper

from hasten.bundle import Bundle
from hasten.diagnose.differ.cut import renamed
from hasten.engine import Engine
from hasten.errors import InputError
from hasten.model import OnnxModel, Tensor
from hasten.provenance import label
from hasten.stage import Stage


def merged(bundle: Bundle) -> tuple[OnnxModel, Engine]:
    """
    Returns:
        One labelled model, and the engine that runs all of it. Where a stage runs by frame, its inputs and outputs are
        reshaped around it. Tensors inside a stage begin with its name.

    Raises:
        InputError: the stages do not make one graph: one is left out at times, or they have several engines or opsets.
    """
    stages = bundle.stages
    if len(stages) == 1 and stages[0].when == "always":
        return OnnxModel(label(OnnxModel.load(stages[0].file).proto)), stages[0].settled()
    if left_out := [s.name for s in stages if s.when == "unless"]:
        raise InputError(f"its stage {left_out[0]!r} is left out at times", "give one of its ONNX files")
    engines = {replace(s.settled(), threads=0) for s in stages}
    if len(engines) > 1:
        raise InputError("its stages run on several engines", "give one of its ONNX files")
    models = [OnnxModel(inliner.inline_local_functions(label(OnnxModel.load(s.file).proto))) for s in stages]
    if len({str(m.proto.opset_import) for m in models}) > 1:
        raise InputError("its stages have several opsets", "give one of its ONNX files")
    made = onnx.ModelProto(
        ir_version=max(m.proto.ir_version for m in models), opset_import=models[0].proto.opset_import
    )
    made.graph.name = bundle.folder.name
    for stage, model in zip(stages, models, strict=True):
        _append(made.graph, stage, model, bundle.pipeline.window.length if bundle.pipeline.window else 1)
    made.graph.input.extend(map(_value, bundle.signature.inputs))
    made.graph.output.extend(map(_value, bundle.signature.outputs))
    return OnnxModel(label(made)), stages[0].settled()


def _append(graph: onnx.GraphProto, stage: Stage, model: OnnxModel, frames: int) -> None:
    prefix, by_frame = f"{stage.name}.", stage.when == "frame"
    inputs, outputs = stage.signature.inputs, stage.signature.outputs
    ends = set() if by_frame else {t.name for t in (*inputs, *outputs)}
    if by_frame:
        for tensor in inputs:
            _reshape(graph, tensor.name, prefix + tensor.name, (-1, *_fixed(stage, tensor)), prefix)
    for node in model.proto.graph.node:
        graph.node.append(renamed(node, prefix, ends))
    for weight in model.proto.graph.initializer:
        graph.initializer.add().CopyFrom(weight)
        graph.initializer[-1].name = prefix + weight.name
    if by_frame:
        for tensor in outputs:
            _reshape(graph, prefix + tensor.name, tensor.name, (-1, frames, *_fixed(stage, tensor)), prefix)


def _fixed(stage: Stage, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(n for n in tensor.shape[1:] if isinstance(n, int))
    if len(shape) + 1 != len(tensor.shape):
        raise InputError(f"its stage {stage.name!r} has free axes in {tensor}", "give one of its ONNX files")
    return shape


def _reshape(graph: onnx.GraphProto, before: str, after: str, shape: tuple[int, ...], prefix: str) -> None:
    name = f"{prefix}{before}.shape"
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    graph.node.append(helper.make_node("Reshape", [before, name], [after], name=f"{prefix}frames.{before}"))


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, kind, tensor.shape)
