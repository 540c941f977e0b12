"""A graph cut at tensors: which nodes make a piece between cuts, and pieces as one file in which none sees another."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner

from hasten.diagnose.walk import bodies
from hasten.measure._tensors import Tensors
from hasten.model import OnnxModel
from hasten.provenance import module_of

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}
PASSED = {"Identity", "Dropout", "QuantizeLinear", "DequantizeLinear", "Cast", "Constant"}  # hand their input on


@dataclass(frozen=True)
class Piece:
    """Nodes that make `outputs` of `inputs` and weights, by their places in the graph."""

    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph:
    """The main graph of a model whose nodes are labelled with their modules (hasten.provenance.label)."""

    def __init__(self, model: OnnxModel, axes: Mapping[str, int] | None = None) -> None:
        """
        Args:
            axes: length of free axes by name; any other free axis is taken as 1.
        """
        self.proto = inliner.inline_local_functions(model.proto) if model.proto.functions else model.proto
        shaped = Tensors(OnnxModel(self.proto), axes)
        self.shapes = shaped.shapes
        values = (*shaped.graph.input, *shaped.graph.value_info, *shaped.graph.output)
        self.kinds = {v.name: v.type.tensor_type.elem_type for v in values}
        graph = self.proto.graph
        self.nodes: Sequence[onnx.NodeProto] = list(graph.node)
        self.weights = {w.name: w for w in graph.initializer}
        self.inputs = [v.name for v in graph.input if v.name not in self.weights]
        self.outputs = [v.name for v in graph.output]
        self.maker = {name: place for place, node in enumerate(self.nodes) for name in node.output if name}
        self.constant = set(self.weights)
        for node in self.nodes:
            if all(name in self.constant for name in reads(node)):
                self.constant.update(node.output)

    @cached_property
    def points(self) -> list[str]:
        """Tensors at which it can be cut, in the order in which they are made: floats that depend on an input, and all
        outputs; not those that a node only hands on.
        """
        ends = set(self.outputs)
        return [
            name
            for node in self.nodes
            for name in node.output
            if name in ends
            or (
                self.kinds.get(name) in FLOATS
                and name not in self.constant
                and (node.op_type not in PASSED or node.op_type == "Cast")
            )
        ]

    def node(self, tensor: str) -> onnx.NodeProto | None:
        """The one that makes it; None for an input."""
        return self.nodes[self.maker[tensor]] if tensor in self.maker else None

    def given(self, node: onnx.NodeProto) -> list[str]:
        """What a node reads that depends on an input."""
        return [name for name in reads(node) if name not in self.constant]

    def source(self, tensor: str) -> str:
        """The tensor that nodes which only hand on have handed on."""
        while (node := self.node(tensor)) is not None and node.op_type in PASSED and node.input:
            tensor = node.input[0]
        return tensor

    def piece(self, outputs: Iterable[str], stops: Collection[str]) -> Piece:
        """What makes these outputs, back to the tensors `stops`, weights and inputs."""
        wanted = tuple(outputs)
        waiting, found = [self.maker[name] for name in wanted], set[int]()
        inputs: dict[str, None] = {}
        while waiting:
            place = waiting.pop()
            if place in found:
                continue
            found.add(place)
            for name in reads(self.nodes[place]):
                if name in stops or (name not in self.maker and name not in self.weights):
                    inputs[name] = None
                elif name in self.maker:
                    waiting.append(self.maker[name])
        return Piece(tuple(sorted(found)), tuple(inputs), wanted)

    def also(self, tensors: Iterable[str]) -> onnx.ModelProto:
        """The whole model with these tensors among its outputs."""
        made = onnx.ModelProto()
        made.CopyFrom(self.proto)
        known = set(self.outputs)
        made.graph.output.extend(self._value(name) for name in tensors if name not in known)
        return made

    def file_of(self, pieces: Sequence[Piece], feed: Mapping[str, np.ndarray]) -> onnx.ModelProto:
        """One model of all pieces. Tensors of the i-th begin with `i.`, so that nothing is shared but weights.

        Args:
            feed: input of a piece, with its prefix -> the array that it will be given.
        """
        made = onnx.ModelProto(ir_version=self.proto.ir_version, opset_import=self.proto.opset_import)
        made.graph.name = "pieces"
        weights: dict[str, None] = {}
        for number, piece in enumerate(pieces):
            inside = [self.nodes[place] for place in piece.nodes]
            weights |= dict.fromkeys(name for node in inside for name in reads(node) if name in self.weights)
            made.graph.node.extend(renamed(node, f"{number}.", self.weights) for node in inside)
            for name in piece.inputs:
                array = feed[f"{number}.{name}"]
                kind = self.kinds.get(name) or helper.np_dtype_to_tensor_dtype(array.dtype)
                made.graph.input.append(helper.make_tensor_value_info(f"{number}.{name}", kind, array.shape))
            made.graph.output.extend(self._value(name, f"{number}.") for name in piece.outputs)
        made.graph.initializer.extend(self.weights[name] for name in weights)
        return made

    def name(self, place: int) -> str:
        """Of a node; its first output's where it has none."""
        node = self.nodes[place]
        return str(node.name or next(filter(None, node.output), node.op_type))

    def module(self, place: int) -> str:
        return module_of(self.nodes[place]) or self.name(place)

    def _value(self, name: str, prefix: str = "") -> onnx.ValueInfoProto:
        kind = self.kinds.get(name) or TensorProto.FLOAT
        return helper.make_tensor_value_info(prefix + name, kind, None)


def reads(node: onnx.NodeProto) -> list[str]:
    """Every tensor that a node reads, those that its bodies see from outside included."""
    found = dict.fromkeys(filter(None, node.input))
    for body in bodies(node):
        inside = {v.name for v in body.input} | {w.name for w in body.initializer}
        for inner in body.node:
            found |= dict.fromkeys(name for name in reads(inner) if name not in inside)
            inside.update(inner.output)
        found |= dict.fromkeys(v.name for v in body.output if v.name not in inside)
    return list(found)


def renamed(node: onnx.NodeProto, prefix: str, kept: Collection[str]) -> onnx.NodeProto:
    """A copy whose tensors, and those inside its bodies, begin with `prefix`, but for those `kept`."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.name = f"{prefix}{node.name}" if node.name else ""
    for names in (made.input, made.output):
        names[:] = [name if not name or name in kept else prefix + name for name in names]
    for body in bodies(made):
        own = set(kept) - {w.name for w in body.initializer}
        for value in (*body.input, *body.output, *body.initializer, *body.value_info):
            value.name = value.name if value.name in own else prefix + value.name
        inner = [renamed(n, prefix, own) for n in body.node]
        del body.node[:]
        body.node.extend(inner)
    return made
