"""Which layer that an engine executes did a node of the file become a part of?"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import onnx

from hasten.measure._tensors import STILL, STORED, VIEWS
from hasten.measure.flops import RULES
from hasten.provenance import nodes

_AHEAD = {*RULES, *VIEWS, "DequantizeLinear", "Pad", "Transpose"}  # fused with what reads them
_BEHIND = set(  # fused with the product whose values they work on, element by element
    """
    Add BatchNormalization Cast Clip Div Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish Mul PRelu QuantizeLinear Relu
    Sigmoid Softplus Sub Swish Tanh
    """.split()  # noqa: SIM905
)


def owners(layers: Sequence[Mapping[str, Any]], graph: onnx.GraphProto) -> dict[str, int]:
    """Node -> place of its layer.

    A layer names nodes, or values that they write (`of`). What none names was fused: a product, and what prepares an
    operand (`_AHEAD`), with that which reads it; what follows a product element by element (`_BEHIND`) with the last
    product that it reads; anything else with what reads it, or else with what it reads, if that is one layer. A product
    is only ever part of a layer that is heavy by the engine's own account.
    """
    named = {name: place for place, layer in enumerate(layers) for name in layer["of"] or (layer["name"],) if name}
    heavy = {place for place, layer in enumerate(layers) if layer["heavy"]}
    known = [node for node in nodes(graph) if node.op_type != "Constant" and any(node.output)]
    writers = {value: node for node in known for value in node.output if value}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in known:
        for value in filter(None, node.input):
            readers.setdefault(value, []).append(node)
    found = {called(n): p for n in known if (p := _named(n, named)) is not None}

    def adopt(node: onnx.NodeProto, others: list[onnx.NodeProto], *, into: Collection[int], alone: bool = True) -> None:
        """Into the layer of the others; into the last of them, unless they have to be one (`alone`)."""
        places = {found.get(called(other)) for other in others}
        if called(node) in found or not places or None in places or (alone and len(places) > 1):
            return
        place = max(p for p in places if p is not None)
        if place in into and (place in heavy or node.op_type not in RULES):
            found[called(node)] = place

    def ahead(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [reader for value in node.output for reader in readers.get(value, [])]

    def behind(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [writers[value] for value in node.input if value in writers]

    every = range(len(layers))
    for node in reversed(known):  # readers come after what they read
        if node.op_type in _AHEAD:
            adopt(node, ahead(node), into=every)
    for node in known:
        if node.op_type in _BEHIND:
            adopt(node, behind(node), into=every if node.op_type == "QuantizeLinear" else heavy, alone=False)
    for node in reversed(known):
        adopt(node, ahead(node), into=every)
    for node in known:
        if node.op_type not in _AHEAD:
            adopt(node, behind(node), into=every, alone=False)
    return found


def run_alone(parts: Iterable[Sequence[onnx.NodeProto]]) -> set[str]:
    """Outputs of the DQ in layers that hold nothing else: these are run, and give floats."""
    alone = (part for part in parts if all(n.op_type in STORED | STILL for n in part))
    return {n.output[0] for part in alone for n in part if n.op_type == "DequantizeLinear"}


def called(node: onnx.NodeProto) -> str:
    """A node's name, or that of its first output."""
    return str(node.name or next(filter(None, node.output), ""))


def _named(node: onnx.NodeProto, named: Mapping[str, int]) -> int | None:
    return next((named[n] for n in (node.name, *node.output) if n and n in named), None)
