"""The graphs of an ensemble: members whose tensors have names of their own, their mean, and all of it in one file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.errors import NotApplicable
from hasten.model import OnnxModel, Signature, Tensor
from hasten.offline.ensemble.mixture import LOWEST, NEAREST, Activation
from hasten.provenance import nodes

if TYPE_CHECKING:
    import onnx

OLDEST, NEW = 13, 17  # opsets: the first whose Softmax is along one axis; that of a mean that stands alone


@dataclass(frozen=True)
class Mean:
    """What is averaged and how: the first output after its activation, and back again; all others as they are.

    Attributes:
        outputs: of each member alike, as the ensemble gives them.
        weights: by member, by the prefix of its tensors; they sum to one.
        activation: of the first output.
    """

    outputs: tuple[Tensor, ...]
    weights: Mapping[str, float]
    activation: Activation

    def alone(self) -> OnnxModel:
        """A graph that takes the members' outputs, by their prefixed names, and gives the mean."""
        from onnx import helper

        inputs = [_value(t, prefix + t.name) for t in self.outputs for prefix in self.weights]
        outputs = [_value(t, t.name) for t in self.outputs]
        made, constants = self.nodes()
        graph = helper.make_graph(made, "mean", inputs, outputs, constants)
        return _checked(helper.make_model(graph, opset_imports=[helper.make_opsetid("", NEW)], ir_version=8))

    def nodes(self) -> "tuple[list[onnx.NodeProto], list[onnx.TensorProto]]":
        """Of the mean: nodes, and the constants that they take."""
        from onnx import numpy_helper

        made: list[onnx.NodeProto] = []
        constants: dict[str, onnx.TensorProto] = {}

        def constant(name: str, value: float, dtype: str) -> str:
            name = f"mean/{dtype}/{name}"
            constants[name] = numpy_helper.from_array(np.array(value, dtype), name)
            return name

        for place, tensor in enumerate(self.outputs):
            made += self._one(tensor, "none" if place else self.activation, constant)
        return made, list(constants.values())

    def _one(
        self, tensor: Tensor, activation: Activation, constant: Callable[[str, float, str], str]
    ) -> "Iterator[onnx.NodeProto]":
        """The mean of one output."""
        name, dtype = tensor.name, tensor.dtype
        weighted = []
        for prefix, weight in self.weights.items():
            score = prefix + name
            if activation != "none":
                axis = {"axis": -1} if activation == "softmax" else {}
                yield _node(activation.title(), [score], f"mean/{score}/scores", **axis)
                score = f"mean/{score}/scores"
            weighted.append(f"mean/{prefix + name}/weighted")
            yield _node("Mul", [score, constant(f"weight/{prefix}", weight, dtype)], weighted[-1])
        if activation == "none":
            yield _node("Sum", weighted, name)
            return
        yield _node("Sum", weighted, f"mean/{name}/sum")
        lowest = LOWEST if activation == "softmax" else NEAREST
        ends = [constant("lowest", lowest, dtype)]
        ends += [constant("highest", 1 - NEAREST, dtype)] if activation == "sigmoid" else []
        yield _node("Clip", [f"mean/{name}/sum", *ends], f"mean/{name}/score")
        if activation == "softmax":
            yield _node("Log", [f"mean/{name}/score"], name)
            return
        yield _node("Sub", [constant("one", 1.0, dtype), f"mean/{name}/score"], f"mean/{name}/rest")
        yield _node("Log", [f"mean/{name}/score"], f"mean/{name}/for")
        yield _node("Log", [f"mean/{name}/rest"], f"mean/{name}/against")
        yield _node("Sub", [f"mean/{name}/for", f"mean/{name}/against"], name)


def prefixed(model: OnnxModel, prefix: str, kept: Sequence[str] = ()) -> OnnxModel:
    """The same graph, every tensor and node of which begins with the prefix, those apart that are `kept`."""
    made = type(model.proto)()
    made.CopyFrom(model.proto)

    def new(name: str) -> str:
        return prefix + name if name and name not in kept else name

    for graph in _graphs(made.graph):
        values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
        sparse = (half for one in graph.sparse_initializer for half in (one.values, one.indices))
        for named in (*values, *sparse):
            named.name = new(named.name)
        for quantized in graph.quantization_annotation:
            quantized.tensor_name = new(quantized.tensor_name)
    for node in nodes(made.graph):
        node.name = new(node.name)
        node.input[:] = map(new, node.input)
        node.output[:] = map(new, node.output)
    return OnnxModel(made)


def together(
    members: Mapping[str, OnnxModel], mean: Mean, kept: Sequence[Tensor] = (), handed: Sequence[Tensor] = ()
) -> OnnxModel:
    """Members and their mean as one graph, which takes each input once.

    Args:
        members: by prefix.
        kept: members' outputs, by their prefixed names, that are given beside the mean.
        handed: tensors that the mean takes and somebody else gives.

    Raises:
        NotApplicable: they cannot be put into one file; says why.
    """
    from onnx import helper

    if fault := why_not(list(members.values())):
        raise NotApplicable(f"the members cannot be one graph: {fault}", "keep a stage for each")
    whole = next(iter(members.values()))
    names = [t.name for t in whole.signature.inputs]
    parts = [prefixed(model, prefix, names).proto for prefix, model in members.items()]
    made, constants = mean.nodes()
    inputs = [v for v in parts[0].graph.input if v.name in names]
    graph = helper.make_graph(
        [*(node for part in parts for node in part.graph.node), *made],
        "ensemble",
        [*inputs, *(_value(t, t.name) for t in handed)],
        [*(_value(t, t.name) for t in mean.outputs), *(_value(t, t.name) for t in kept)],
        [*(w for part in parts for w in part.graph.initializer), *constants],
    )
    imports = {o.domain: o for part in parts for o in part.opset_import}
    version = max(part.ir_version for part in parts)
    return _checked(helper.make_model(graph, opset_imports=list(imports.values()), ir_version=version))


def why_not(models: Sequence[OnnxModel]) -> str:
    """What stands against putting them into one graph; empty where nothing does."""
    opsets = [{o.domain or "ai.onnx": o.version for o in m.proto.opset_import} for m in models]
    for domain in sorted({d for one in opsets for d in one}):
        if len(found := {one[domain] for one in opsets if domain in one}) > 1:
            return f"their opsets of {domain} are {' and '.join(map(str, sorted(found)))}"
    if min(m.opset for m in models) < OLDEST:
        return f"an opset is below {OLDEST}"
    if any(m.proto.functions or m.proto.graph.sparse_initializer for m in models):
        return "one has functions or sparse weights of its own"
    if len({(m.signature.batch is None, m.signature.fixed_batch) for m in models}) > 1:
        return "some take another batch than others"
    if len({_shapes(m.signature) for m in models}) > 1:
        return "their inputs have different shapes"
    return ""


def _shapes(signature: Signature) -> tuple[tuple[str, str, tuple[int | str, ...]], ...]:
    """Of the inputs, whatever a free axis is called."""
    return tuple(
        (t.name, t.dtype, tuple(n if isinstance(n, int) else "" for n in t.shape))
        for t in sorted(signature.inputs, key=lambda t: t.name)
    )


def _graphs(graph: "onnx.GraphProto") -> "Iterator[onnx.GraphProto]":
    """It, and those inside its nodes."""
    yield graph
    for node in nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _value(tensor: Tensor, name: str) -> "onnx.ValueInfoProto":
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), tensor.shape)


def _node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node(op, inputs, [output], name=output, **attributes)


def _checked(proto: "onnx.ModelProto") -> OnnxModel:
    import onnx

    onnx.checker.check_model(proto)
    return OnnxModel(proto)
