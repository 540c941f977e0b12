"""Q and DQ written where engines fuse them: around every layer, behind its activation, at both ends of an addition.

An engine runs a convolution in INT8 when it finds DQ, Conv, Q in a row; an activation between Conv and Q vanishes,
since where 8 bits end there it ends too. Libraries that place Q by other rules leave layers in floats.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hasten.errors import NotApplicable
from hasten.graph._int8 import INT8, Scale, pair, weight, whole_bias
from hasten.graph._ranges import Seen, watch
from hasten.model import Arrays
from hasten.provenance import nodes

if TYPE_CHECKING:
    import onnx

    from hasten.graph.quantize import Quantize

ACTIVATIONS = frozenset({"Relu", "Clip"})  # cut off what 8 bits would cut off as well
MOVES = frozenset({"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})  # values as they are
MIXES = frozenset({"Add", "Concat", "GlobalAveragePool", "AveragePool"})  # run in INT8 where all they take and give is
JUDGED = 32  # samples by which the layers that hurt are found


def static(proto: "onnx.ModelProto", step: "Quantize", feeds: Sequence[Arrays], skip: list[str]) -> "onnx.ModelProto":
    """INT8 for every convolution and matrix product, with ranges of one calibration.

    Args:
        proto: simplified, with unique node names.
        feeds: one call's inputs each.
        skip: nodes that stay in floating point.
    """
    net = _Net(proto)
    layers = [n for n in net.nodes if n.name not in skip and (not step.ops or n.op_type in step.ops) and net.fits(n)]
    if not layers:
        raise NotApplicable(
            f"{step} has nothing to do: no convolution or product has a constant weight and is not an answer"
        )
    points = _points(net, layers, step)
    seen = watch(proto, sorted({*points, *points.values()}), feeds)
    if step.spare:
        hurt = _hurtful(proto, step, layers, seen, feeds[: -(-JUDGED // max(1, _samples(feeds[0])))])
        layers = [n for n in layers if n.name not in hurt[: math.ceil(step.spare * len(layers))]]
    return _written(proto, step, layers, seen)


class _Net:
    """A graph by its tensors."""

    def __init__(self, proto: "onnx.ModelProto") -> None:
        import onnx

        graph = proto.graph
        self.nodes = list(graph.node)
        self.weights = {w.name: w for w in graph.initializer}
        self.outputs = {o.name for o in graph.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        floats = (v for v in (*graph.value_info, *graph.input, *graph.output))
        self.floats = {v.name for v in floats if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}

    def fits(self, node: "onnx.NodeProto") -> bool:
        """Whether it is a layer that engines run in INT8; a convolution that answers is wanted in floats."""
        if node.op_type == "Conv":
            return node.input[1] in self.weights and self.after(node) not in self.outputs
        if node.op_type == "Gemm":
            odd = any(
                (a.name == "transA" and a.i) or (a.name in ("alpha", "beta") and a.f != 1.0) for a in node.attribute
            )
            return not odd and node.input[1] in self.weights
        return node.op_type == "MatMul" and node.input[0] not in self.weights and set(node.input) <= {
            *self.weights, *self.floats
        }  # fmt: skip

    def after(self, node: "onnx.NodeProto") -> str:
        """The tensor behind a node and the activations that vanish."""
        name = str(node.output[0])
        while len(self.readers[name]) == 1 and name not in self.outputs:
            (reader,) = self.readers[name]
            if reader.op_type not in ACTIVATIONS or reader.input[0] != name:
                break
            name = str(reader.output[0])
        return name

    def dynamic(self, node: "onnx.NodeProto") -> list[str]:
        """The inputs of floats that are no weights."""
        return [i for i in node.input if i and i not in self.weights and i in self.floats]


def _points(net: _Net, layers: Sequence["onnx.NodeProto"], step: "Quantize") -> dict[str, str]:
    """Tensors that get Q and DQ -> whose range they have: their own, or that of a tensor with the same values."""
    points: dict[str, str] = {}
    for layer in layers:
        points |= {name: name for name in net.dynamic(layer)[: 2 if layer.op_type == "MatMul" else 1]}
    given = {net.after(layer) for layer in layers if layer.op_type == "Conv"}
    if step.engine == "onnxruntime":  # it wants Q behind each convolution; OpenVINO, where a layer or a sum reads it
        points |= {name: name for name in given}
    for node in net.nodes:  # in the order in which they run, so that one that takes points may hand them on
        taken, summed = net.dynamic(node), _summed(net, node, layers, step)
        joined = step.engine == "tensorrt" and node.op_type == "Concat"
        if node.op_type not in MOVES | MIXES or not (summed or joined or points.keys() & set(taken)):
            continue
        if not set(taken) <= points.keys() | given or net.after(node) in net.outputs:
            continue
        points |= {name: name for name in taken if name not in points and name != summed}
        if node.op_type in MOVES:
            points[node.output[0]] = points[taken[0]]
        elif node.op_type in MIXES and len(taken) == sum(1 for i in node.input if i):
            points.setdefault(net.after(node), net.after(node))
    return _matched(net, points) if step.engine == "tensorrt" else points


def _summed(net: _Net, node: "onnx.NodeProto", layers: Sequence["onnx.NodeProto"], step: "Quantize") -> str | None:
    """What an addition takes in floats: TensorRT adds the skip to the sums of the last convolution before it."""
    if step.engine != "tensorrt" or node.op_type != "Add":
        return None
    convolved = [n.output[0] for n in layers if n.op_type == "Conv" and n.output[0] in node.input]
    own = [name for name in convolved if len(net.readers[name]) == 1]
    return own[-1] if own and len(net.dynamic(node)) > 1 else None


def _matched(net: _Net, points: dict[str, str]) -> dict[str, str]:
    """Whatever is joined has the range of what it is joined to, so that TensorRT copies it as it is."""
    whose = dict(points)
    for node in reversed(net.nodes):
        joint = str(node.output[0])
        if node.op_type == "Concat" and joint in whose and set(node.input) <= whose.keys():
            whose |= dict.fromkeys(node.input, whose[joint])
    return whose


def _multiplied(net: _Net, layers: Sequence["onnx.NodeProto"]) -> set[str]:
    """Activations that are multiplied with activations, which OpenVINO does in INT8 where zero is stored as zero."""
    products = [n for n in layers if n.op_type == "MatMul" and n.input[1] not in net.weights]
    return {name for n in products for name in n.input}


def _written(
    proto: "onnx.ModelProto", step: "Quantize", layers: Sequence["onnx.NodeProto"], seen: dict[str, Seen]
) -> "onnx.ModelProto":
    """A copy with Q and DQ at the points of these layers, weights in INT8, and corrected biases."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    net, chosen = _Net(made), {n.name for n in layers}
    inside = [n for n in net.nodes if n.name in chosen]
    points = _points(net, inside, step)
    even = _multiplied(net, inside) if step.engine == "openvino" else set()

    def fitting(name: str, whose: str) -> Scale:
        ends = seen[whose].range(step.estimator)
        if step.engine == "tensorrt":
            return Scale.signed(*ends)
        return Scale.of(*ends, step.symmetric or not even.isdisjoint({name, whose}))

    scales = {name: fitting(name, whose) for name, whose in points.items()}
    front: list[onnx.NodeProto] = []
    behind: dict[str, list[onnx.NodeProto]] = {}
    forced = {net.after(n) for n in inside if n.op_type == "Conv" and step.engine == "onnxruntime"}
    along = {
        n.name
        for n in net.nodes
        if n.op_type in MOVES | MIXES and {*net.dynamic(n)} - {_summed(net, n, inside, step)} <= points.keys()
    }
    for name, scale in scales.items():
        quantized = pair(made.graph, name, scale)
        behind[name] = quantized
        for reader in list(net.readers[name]):
            if name in forced or reader.name in chosen | along:  # the others read floats, which are more precise
                reader.input[:] = [quantized[1].output[0] if i == name else i for i in reader.input]
    for layer in inside:
        source = layer.input[0].removesuffix(f"{INT8}dq")
        if layer.input[1] in net.weights:  # or it is a product of two activations
            front.append(weight(made.graph, layer, step, seen[source]))
            if layer.op_type == "Gemm" and step.engine == "onnxruntime":
                front += whole_bias(made.graph, layer, scales[source])
    ordered = [*front, *(p for i in made.graph.input for p in behind.pop(i.name, []))]
    for node in net.nodes:
        ordered += [node, *(p for t in node.output for p in behind.pop(t, []))]
    del made.graph.node[:]
    made.graph.node.extend(ordered)
    read = {name for node in nodes(made.graph) for name in node.input} | net.outputs
    kept = [w for w in made.graph.initializer if w.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _hurtful(
    proto: "onnx.ModelProto",
    step: "Quantize",
    layers: Sequence["onnx.NodeProto"],
    seen: dict[str, Seen],
    feeds: Sequence[Arrays],
) -> list[str]:
    """Names of layers, those first that change the answers most when they alone are in INT8."""
    wanted = _answers(proto, feeds)

    def damage(layer: "onnx.NodeProto") -> float:
        got = _answers(_written(proto, step, [layer], seen), feeds)
        return float(
            sum(np.square(g - w).mean() / max(1e-12, float(w.var())) for g, w in zip(got, wanted, strict=True))
        )

    return [layer.name for layer in sorted(layers, key=damage, reverse=True)]


def _answers(proto: "onnx.ModelProto", feeds: Sequence[Arrays]) -> list[np.ndarray]:
    """The outputs of floats on all feeds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, dict(feed)) for feed in feeds]
    return [
        np.concatenate([np.atleast_1d(p) for p in part])
        for part in zip(*parts, strict=True)
        if part[0].dtype.kind == "f"
    ]


def _samples(feed: Arrays) -> int:
    return len(next(iter(feed.values())))
