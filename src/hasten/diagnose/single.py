"""Cuts a graph into models of one node each: the same attributes, types, shapes and constants.

What a node is given when the network runs is known from one run of the whole on a sample: the shapes that nothing else
tells, and the whole numbers, since an index or a length that was drawn at random would make no sense. Floats are drawn.
What only depends on shapes and constants is a constant here, as an engine folds it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

from hasten.diagnose.traced import SMALL, traced
from hasten.diagnose.walk import bodies
from hasten.model import Arrays, OnnxModel
from hasten.provenance import label, module_of

TOLD = 8  # elements of a constant of floats up to which its values decide, and not only its shape
HELD = {"Constant"}  # nodes that only hold something
Known = dict[str, tuple[int, tuple[int, ...]]]  # value -> type, shape


@dataclass(frozen=True)
class Single:
    """One node of the user's graph, and the model that holds nothing else.

    Attributes:
        node: as it stands in the graph.
        model: None where it could not be cut out.
        why: it could not.
        feed: input name -> array, for the values that the node is given when it runs.
        folded: whether it depends on constants and shapes alone, so that an engine can do without it.
    """

    node: onnx.NodeProto
    model: onnx.ModelProto | None
    why: str = ""
    feed: Arrays = field(default_factory=dict)
    folded: bool = False

    @property
    def name(self) -> str:
        return self.node.name or next(filter(None, self.node.output), self.node.op_type)

    @property
    def module(self) -> str:
        return module_of(self.node) or ""

    @cached_property
    def key(self) -> str:
        """Equal for two nodes that an engine treats alike: operator, opset, attributes, types, shapes, constants."""
        assert self.model is not None
        graph = self.model.graph
        constants = {w.name: w for w in graph.initializer}
        runtime = {v.name: v.type.tensor_type for v in graph.input}
        names = list(dict.fromkeys([*self.node.input, *constants, *runtime]))
        place = {name: f"v{i}" for i, name in enumerate([*names, *self.node.output]) if name}
        bare = onnx.NodeProto(op_type=self.node.op_type, domain=self.node.domain)
        bare.attribute.extend(sorted(self.node.attribute, key=lambda a: a.name))
        told = {
            "node": hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest(),
            "opsets": sorted((o.domain, o.version) for o in self.model.opset_import),
            "inputs": [place.get(n, "") for n in self.node.input],
            "outputs": [bool(n) for n in self.node.output],
            "values": {place[n]: _digest(w) for n, w in constants.items()}
            | {place[n]: [t.elem_type, [d.dim_value for d in t.shape.dim]] for n, t in runtime.items()},
        }
        return f"{self.node.op_type}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]}"


def singles(model: OnnxModel, feed: Arrays, seed: int = 0) -> Iterator[Single]:
    """A model a node, in the order of the graph; Constant nodes are left out.

    Args:
        model: as `settled` made it.
        feed: what one call of the whole takes.
        seed: of the floats that nodes are given.
    """
    graph = _Graph(model.proto, feed)
    for place, node in enumerate(graph.proto.graph.node):
        if node.op_type not in HELD:
            yield graph.cut(node, np.random.default_rng((seed, place)))


class _Graph:
    """The graph with what is known of its values."""

    def __init__(self, proto: onnx.ModelProto, feed: Arrays) -> None:
        self.proto, graph = proto, proto.graph
        self.constants = {w.name: w for w in graph.initializer} | dict(_held(graph.node))
        self.known = _inferred(self.proto) | {n: (w.data_type, tuple(w.dims)) for n, w in self.constants.items()}
        self.folded = self._foldable()
        self.values = {**feed, **self._trace(feed)}

    def _foldable(self) -> set[str]:
        """Values that only depend on constants and shapes."""
        found: set[str] = set()
        for node in self.proto.graph.node:
            inner = list(_reads(node))
            still = all(n in self.constants or n in found for n in inner)
            if (still and inner) or (node.op_type in ("Shape", "Size") and node.input[0] in self.known):
                found.update(filter(None, node.output))
        return found - self.constants.keys()

    def _trace(self, feed: Arrays) -> Arrays:
        """Values of one run: what is folded, whole numbers, and whatever has an unknown shape."""
        nodes = self.proto.graph.node
        made = [n for node in nodes for n in node.output if n and n not in self.constants]
        read = {n for node in nodes for n in _reads(node)}
        wanted = [n for n in made if n not in self.known or (n in read and (n in self.folded or self._whole(n)))]
        values, shapes = traced(self.proto, feed, wanted) if wanted else ({}, {})
        self.known |= {n: kind for n, kind in shapes.items() if n not in self.known}
        return values

    def _whole(self, name: str) -> bool:
        """A few whole numbers."""
        kind, shape = self.known[name]
        return math.prod(shape) <= SMALL and helper.tensor_dtype_to_np_dtype(kind).kind in "iub"

    def cut(self, node: onnx.NodeProto, rng: np.random.Generator) -> Single:
        needed, made = list(dict.fromkeys(_reads(node))), [n for n in node.output if n]
        folded = all(n in self.folded or n in self.constants for n in made)
        if unknown := [n for n in (*needed, *made) if n not in self.known]:
            return Single(node, None, f"the shape of {unknown[0]!r} is not known, or it is no tensor", folded=folded)
        still = [n for n in needed if n in self.folded and n in self.values]
        if still and all(n in self.folded or n in self.constants for n in needed):
            still = still[1:]  # one has to come when it runs, or nothing would be left to run
        weights = [self.constants[n] for n in needed if n in self.constants]
        weights += [numpy_helper.from_array(np.asarray(self.values[n]), n) for n in still]
        moving = [n for n in needed if n not in self.constants and n not in still]
        given, answered = (
            [helper.make_tensor_value_info(n, *self.known[n]) for n in names] for names in (moving, made)
        )
        model = onnx.ModelProto(ir_version=self.proto.ir_version, opset_import=self.proto.opset_import)
        model.graph.CopyFrom(helper.make_graph([node], "single", given, answered, weights))
        return Single(node, model, feed={n: self._given(n, rng) for n in moving}, folded=folded)

    def _given(self, name: str, rng: np.random.Generator) -> np.ndarray:
        kind, shape = self.known[name]
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        if dtype.kind in "iub" or name in self.folded:
            if name in self.values:
                return np.asarray(self.values[name])
            return np.zeros(shape, dtype)
        return np.asarray(rng.normal(size=shape)).astype(dtype)


def settled(proto: onnx.ModelProto, feed: Arrays) -> onnx.ModelProto:
    """A copy with functions inlined, nodes labelled, inputs of the lengths of the feed, and no other shapes told."""
    made = label(inliner.inline_local_functions(proto) if proto.functions else proto)
    weights = {w.name for w in made.graph.initializer}
    inputs = [v for v in made.graph.input if v.name not in weights]
    del made.graph.input[:]
    del made.graph.value_info[:]
    for value in inputs:
        kind = value.type.tensor_type.elem_type
        made.graph.input.append(helper.make_tensor_value_info(value.name, kind, feed[value.name].shape))
    return made


def _inferred(proto: onnx.ModelProto) -> Known:
    """What ONNX's own inference tells of the values, large weights left out of its way."""
    bare = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    graph = bare.graph
    graph.name = "shapes"
    graph.node.extend(proto.graph.node)
    graph.output.extend(onnx.ValueInfoProto(name=v.name) for v in proto.graph.output)
    graph.input.extend(proto.graph.input)
    for weight in proto.graph.initializer:
        if math.prod(weight.dims) > SMALL:
            graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
        else:
            graph.initializer.append(weight)
    try:
        told = shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # a run of the whole tells them as well
        told = graph
    found = {}
    for value in (*told.input, *told.value_info, *told.output):
        kind = value.type.tensor_type
        if kind.elem_type and kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = (kind.elem_type, tuple(d.dim_value for d in kind.shape.dim))
    return found


def _held(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, TensorProto]]:
    """What Constant nodes hold, by name."""
    for node in nodes:
        if node.op_type != "Constant" or len(node.attribute) != 1:
            continue
        attribute, name = node.attribute[0], node.output[0]
        if attribute.name == "value":
            held = TensorProto()
            held.CopyFrom(attribute.t)
            held.name = name
            yield name, held
        elif attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
            dtype = np.float32 if "float" in attribute.name else np.int64
            yield name, numpy_helper.from_array(np.array(helper.get_attribute_value(attribute), dtype), name)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node takes, and those that the graphs inside it take from outside."""
    yield from filter(None, node.input)
    for body in bodies(node):
        own = {v.name for v in body.input} | {w.name for w in body.initializer}
        own |= {name for inner in body.node for name in inner.output}
        for inner in body.node:
            yield from (name for name in _reads(inner) if name not in own)
        yield from (v.name for v in body.output if v.name not in own)


def _digest(weight: TensorProto) -> list[object]:
    """Of a constant: type, shape, and its values where they can decide."""
    floats = helper.tensor_dtype_to_np_dtype(weight.data_type).kind not in "iub"
    if floats and math.prod(weight.dims) > TOLD:
        return [weight.data_type, list(weight.dims)]
    values = hashlib.sha256(np.ascontiguousarray(numpy_helper.to_array(weight)).tobytes()).hexdigest()
    return [weight.data_type, list(weight.dims), values[:16]]


def first_call(model: OnnxModel, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """What one call takes, out of samples: as many as are fixed, and one where the batch is free."""
    made = {}
    for tensor in model.signature.inputs:
        given = np.asarray(inputs[tensor.name])
        size = tensor.shape[0] if tensor.shape and isinstance(tensor.shape[0], int) else 1
        made[tensor.name] = np.resize(given[:size], (size, *given.shape[1:])) if tensor.shape else given.reshape(-1)[0]
    return made
