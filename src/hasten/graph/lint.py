"""lint: what TensorRT makes of a file's Q and DQ, rule by rule, before its parser sees them.

No rule is taken from a page: for each, a test gives TensorRT-RTX a graph that keeps it and one that breaks it, and
`seen` is what came of the second. It is no technique: it changes nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from hasten.model import OnnxModel
from hasten.provenance import module_of, nodes

if TYPE_CHECKING:
    import onnx

Seen = Literal["crash", "refused", "numbers", "accepted"]
HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})
INTEGER = frozenset({
    "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "MatMulNBits",
})  # fmt: skip
_PLACED = "quantize(method=placed, engine=tensorrt) writes them so"


@dataclass(frozen=True)
class Finding:
    """A node that breaks a rule, and what TensorRT-RTX did with such a one.

    Attributes:
        seen: crash: the process ended; refused: by the parser or the builder; numbers: taken, and other values come
            out than the file says; accepted: taken, though NVIDIA advises against it.
    """

    rule: str
    node: str
    module: str  # the user's
    what: str
    mend: str
    seen: Seen

    @property
    def refused(self) -> bool:
        """Whether no engine comes of it."""
        return self.seen in ("crash", "refused")


class _Graph:
    """What rules ask of a graph."""

    def __init__(self, proto: "onnx.ModelProto") -> None:
        self.nodes = list(nodes(proto.graph))
        self.by = {t: n for n in self.nodes for t in n.output}
        self.stored = {w.name: w for w in proto.graph.initializer}
        self.stored |= {n.output[0]: a.t for n in self.nodes for a in n.attribute if a.name == "value"}
        self.types = {v.name: v.type.tensor_type.elem_type for v in proto.graph.input}

    @cached_property
    def constant(self) -> set[str]:
        """Values that are known before anything runs."""
        known = set(self.stored)
        for node in self.nodes:
            if node.op_type not in HEAVY | PAIR and node.input and known.issuperset(filter(None, node.input)):
                known.update(node.output)
        return known

    def array(self, name: str) -> "np.ndarray | None":
        from onnx import numpy_helper

        return numpy_helper.to_array(self.stored[name]) if name in self.stored else None

    def scale(self, node: "onnx.NodeProto") -> "np.ndarray | None":
        return self.array(node.input[1])

    def source(self, name: str) -> "onnx.NodeProto | None":
        """The DQ that gives a value."""
        node = self.by.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def type_of(self, node: "onnx.NodeProto") -> int:
        """Of the 8 bits that a Q gives or a DQ takes; uint8 where nobody says, as ONNX has it."""
        taken = self.stored.get(node.input[0] if node.op_type == "DequantizeLinear" else "")
        zero = self.stored.get(node.input[2]) if len(node.input) > 2 else None
        said = next((a.i for a in node.attribute if a.name == "output_dtype"), 0)
        known = (taken.data_type if taken is not None else 0, zero.data_type if zero is not None else 0, said)
        return next((k for k in known if k), 0) or (2 if node.op_type == "QuantizeLinear" else 3)


Broken = Iterator["tuple[onnx.NodeProto, str]"]


@dataclass(frozen=True)
class Rule:
    """One thing that is asked of Q and DQ."""

    name: str
    seen: Seen
    mend: str
    broken: Callable[[_Graph], Broken]  # nodes, and what is wrong with each


def lint(model: OnnxModel) -> tuple[Finding, ...]:
    """Every node that breaks a rule, the worst first; none where the file holds no INT8.

    The rules stand for TensorRT-RTX 1.7; TensorRT 10 and 11 share its parser, and have not been asked.
    """
    graph = _Graph(model.proto)
    found = [
        Finding(r.name, node.name or node.op_type, module_of(node) or "", what, r.mend, r.seen)
        for r in RULES
        for node, what in r.broken(graph)
    ]
    order: tuple[Seen, ...] = ("crash", "refused", "numbers", "accepted")
    return tuple(sorted(found, key=lambda f: order.index(f.seen)))


def _pairs(graph: _Graph) -> Iterator["onnx.NodeProto"]:
    return (n for n in graph.nodes if n.op_type in PAIR)


def _constant_scale(graph: _Graph) -> Broken:
    return ((n, f"its scale {n.input[1]!r} is computed") for n in _pairs(graph) if n.input[1] not in graph.constant)


def _constant_zero(graph: _Graph) -> Broken:
    zeros = ((n, n.input[2]) for n in _pairs(graph) if len(n.input) > 2 and n.input[2])
    return ((n, f"its zero point {z!r} is computed") for n, z in zeros if z not in graph.constant)


def _positive(graph: _Graph) -> Broken:
    scales = ((n, s) for n in _pairs(graph) if (s := graph.scale(n)) is not None)
    return ((n, "its scale is not above 0") for n, s in scales if not (s.astype(np.float64) > 0).all())


def _symmetric(graph: _Graph) -> Broken:
    zeros = ((n, z) for n in _pairs(graph) if len(n.input) > 2 and (z := graph.array(n.input[2])) is not None)
    return ((n, "its zero point is not 0") for n, z in zeros if z.astype(np.float64).any())


def _signed(graph: _Graph) -> Broken:
    quantizers = (n for n in graph.nodes if n.op_type == "QuantizeLinear" and graph.type_of(n) == 2)
    return ((n, "it gives uint8, which is read as int8: what lies above 127 steps is cut off") for n in quantizers)


def _signed_store(graph: _Graph) -> Broken:
    for node in graph.nodes:
        stored = node.op_type == "DequantizeLinear" and graph.by.get(node.input[0]) is None
        if stored and 2 in (graph.types.get(node.input[0]), graph.type_of(node)):
            yield node, "it reads uint8 that is stored or fed"


def _eight_bits(graph: _Graph) -> Broken:
    names = {4: "uint16", 5: "int16", 6: "int32"}
    found = ((n, graph.type_of(n)) for n in _pairs(graph))
    return ((n, f"it is of {names[kind]}") for n, kind in found if kind in names)


def _operators(graph: _Graph) -> Broken:
    return ((n, f"{n.op_type} is not known there") for n in graph.nodes if n.op_type in INTEGER)


def _one_type(graph: _Graph) -> Broken:
    for node in (n for n in graph.nodes if n.op_type in HEAVY):
        scales = [graph.scale(s) for i in node.input if (s := graph.source(i)) is not None]
        if len({s.dtype for s in scales if s is not None}) > 1:
            yield node, "its inputs are of different floats, as their scales are"


def _whole_channels(graph: _Graph) -> Broken:
    blocks = ((n, next((a.i for a in n.attribute if a.name == "block_size"), 0)) for n in _pairs(graph))
    return ((n, f"blocks of {size} share a scale") for n, size in blocks if size and graph.type_of(n) in (2, 3))


def _output_channels(graph: _Graph) -> Broken:
    for node in (n for n in graph.nodes if n.op_type in HEAVY):
        reader = graph.source(node.input[1])
        weight = graph.stored.get(reader.input[0]) if reader is not None else None
        if reader is None or weight is None or (scale := graph.scale(reader)) is None:
            continue
        across = any(a.name == "transB" and a.i for a in node.attribute)
        wanted = 0 if node.op_type == "Conv" or across else 1 if node.op_type == "ConvTranspose" else -1
        axis = next((a.i for a in reader.attribute if a.name == "axis"), 1)
        rank = len(weight.dims)
        if scale.size == 1 and weight.dims[wanted] > 1:
            yield reader, "one scale for all of the weights"
        elif scale.ndim and scale.size > 1 and axis % rank != wanted % rank:
            yield reader, f"its scales lie along axis {axis} of the weights, which is not that of the outputs"


def _one_scale(graph: _Graph) -> Broken:
    quantizers = (n for n in graph.nodes if n.op_type == "QuantizeLinear" and n.input[0] not in graph.constant)
    scales = ((n, s) for n in quantizers if (s := graph.scale(n)) is not None)
    return ((n, "an activation has several scales") for n, s in scales if s.size > 1)


def _float_bias(graph: _Graph) -> Broken:
    biased = (n for n in graph.nodes if n.op_type in HEAVY and len(n.input) > 2 and n.input[2])
    return ((n, "its bias is quantized") for n in biased if graph.source(n.input[2]) is not None)


def _both_branches(graph: _Graph) -> Broken:
    for node in (n for n in graph.nodes if n.op_type == "Add"):
        floats = [i for i in node.input if i not in graph.constant and graph.source(i) is None]
        layers = [i for i in floats if i in graph.by and _is_int8(graph, graph.by[i])]
        if layers and len(floats) > 1:
            skip = next((i for i in floats if i not in layers), floats[-1])
            yield node, f"{skip!r} is added in floats to what a layer in INT8 gives"


def _is_int8(graph: _Graph, node: "onnx.NodeProto") -> bool:
    return node.op_type in ("Conv", "ConvTranspose") and graph.source(node.input[0]) is not None


def _matched(graph: _Graph) -> Broken:
    for node in (n for n in graph.nodes if n.op_type == "Concat"):
        scales = [graph.scale(s) for i in node.input if (s := graph.source(i)) is not None]
        if len({float(s.reshape(-1)[0]) for s in scales if s is not None and s.size == 1}) > 1:
            yield node, "its inputs have different scales, and are all stored anew"


RULES = (
    Rule("constant scale", "crash", "calibrate it: " + _PLACED, _constant_scale),
    Rule("constant zero point", "refused", "leave it out, or store a 0", _constant_zero),
    Rule("positive scale", "refused", "calibrate again", _positive),
    Rule("symmetric", "refused", "ranges around zero: " + _PLACED, _symmetric),
    Rule("signed store", "refused", "store weights in int8, and feed floats", _signed_store),
    Rule("8 bits", "refused", "leave biases in floats: " + _PLACED, _eight_bits),
    Rule("operators", "refused", "write Q and DQ instead: " + _PLACED, _operators),
    Rule("one type", "refused", "give scales the type of the floats around them", _one_type),
    Rule("whole channels", "refused", "a scale for each output channel: " + _PLACED, _whole_channels),
    Rule("signed", "numbers", "give Q a zero point of int8 and ranges around zero: " + _PLACED, _signed),
    Rule("output channels", "accepted", "a scale for each output channel: " + _PLACED, _output_channels),
    Rule("one scale", "accepted", "one scale for the tensor: " + _PLACED, _one_scale),
    Rule("float bias", "accepted", "leave biases in floats: " + _PLACED, _float_bias),
    Rule("both branches", "accepted", "Q and DQ on the skip as well: " + _PLACED, _both_branches),
    Rule("matched", "accepted", "one scale for all of them: " + _PLACED, _matched),
)
