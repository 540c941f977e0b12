"""A graph with the shapes of its values: how each is stored, and the bytes that enter and leave a part of the graph."""

import math
from collections.abc import Collection, Iterable, Mapping

import onnx
from onnx import helper, inliner, shape_inference

from hasten.model import OnnxModel
from hasten.provenance import nodes

Shape = tuple[int, ...]
VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}  # the same bytes, seen in another shape
STILL = {*VIEWS, "Constant", "Shape", "Size"}  # move nothing
STORED = {"QuantizeLinear", "DequantizeLinear"}  # whose scales are as good as nothing
_INTEGER = {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
_ROWS = {"Gather", "GatherElements", "GatherND"}  # read of their first operand what they give, not all of it
_LARGE = 1024  # elements above which a weight cannot be a shape, an axis or an index
_FLOAT = 32  # bits


class Tensors:
    """Of one sample: a free batch axis is 1."""

    def __init__(self, model: OnnxModel, axes: Mapping[str, int] | None = None) -> None:
        """
        Args:
            axes: length of free axes by name; any other free axis is taken as 1.
        """
        proto = inliner.inline_local_functions(model.proto) if model.proto.functions else model.proto
        self.graph = _shaped(proto, axes or {})
        self.shapes = _shapes(self.graph)
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self._bits = {v.name: _bits(v.type.tensor_type.elem_type) for v in values}
        self._bits |= {w.name: _bits(w.data_type) for w in self.graph.initializer}
        known = list(nodes(self.graph))
        self._constants = {w.name for w in proto.graph.initializer}
        self._constants |= {n.output[0] for n in known if n.op_type == "Constant"}
        cast = {n.output[0]: n.input[0] for n in known if n.op_type == "Cast" and n.input[0] in self._constants}
        self._constants = (self._constants - set(cast.values())) | set(cast)  # which engines fold at once
        self._views = {n.output[0]: n.input[0] for n in known if n.op_type in VIEWS}
        self._dequantized = {n.output[0]: n for n in known if n.op_type == "DequantizeLinear"}
        self._given = {self._seen(v.name) for v in self.graph.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in known:
            for name in filter(None, node.input if node.op_type not in STILL else ()):
                self._readers.setdefault(self._seen(name), []).append(node)

    def fused(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The node, and the Q that alone reads what it gives: engines that run INT8 make one layer of them."""
        readers = self._readers.get(node.output[0], [])
        alone = [r.op_type for r in readers] == ["QuantizeLinear"] and node.output[0] not in self._given
        return [node, readers[0]] if alone else [node]

    def traffic(
        self, part: Iterable[onnx.NodeProto], floats: int = _FLOAT, executed: Collection[str] = ()
    ) -> tuple[int, int]:
        """Bytes of constants, and of activations, that these nodes read from elsewhere or write for elsewhere.

        Every value counts once, as it is stored: where a DQ is read, what stands before the DQ is.

        Args:
            floats: bits in which values of 32 bits are kept.
            executed: outputs of those DQ that are run on their own, so that what they give is stored.
        """
        part = [n for n in part if n.op_type not in STILL and n.output[0] not in self._constants]
        inside = {id(n) for n in part}
        written = dict.fromkeys(name for n in part for name in n.output if name)
        weights: dict[str, int] = {}
        moved: dict[str, int] = {}
        for node in part:
            for place, name in enumerate(node.input[:1] if node.op_type in STORED else node.input):
                read = self._stored(name, executed)
                if not name or read in written or self._seen(name) in written:
                    continue
                if read not in self._constants:
                    moved[read] = self._bytes(read, floats)
                elif place == 0 and node.op_type in _ROWS:
                    rows = math.prod(self.shapes.get(node.output[0], (0,)))
                    weights[read] = weights.get(read, 0) + rows * self._width(read, floats) // 8
                else:
                    weights.setdefault(read, self._bytes(read, floats))
        for name in written:
            if name in self._given or any(id(reader) not in inside for reader in self._readers.get(name, [])):
                moved[name] = self._bytes(name, floats)
        return sum(weights.values()), sum(moved.values())

    def constants(self, floats: int = _FLOAT) -> int:
        """Bytes of all weights together."""
        return sum(self._bytes(name, floats) for name in self._constants)

    def integer(self, node: onnx.NodeProto) -> bool:
        """Whether both operands are stored in 8 bits or fewer, so that engines multiply whole numbers."""
        if node.op_type in _INTEGER:
            return True
        return all(self._bits.get(self._stored(i), _FLOAT) <= 8 for i in node.input[:2])

    def _seen(self, name: str) -> str:
        """The value of which `name` is a view."""
        while name in self._views:
            name = self._views[name]
        return name

    def _stored(self, name: str, executed: Collection[str] = ()) -> str:
        """What is read where `name` is: behind DQ stands what DQ reads."""
        name = self._seen(name)
        while name in self._dequantized and name not in executed:
            name = self._seen(self._dequantized[name].input[0])
        return name

    def _bytes(self, name: str, floats: int) -> int:
        shape = self.shapes.get(name)
        return 0 if shape is None else math.prod(shape) * self._width(name, floats) // 8

    def _width(self, name: str, floats: int) -> int:
        bits = self._bits.get(name, _FLOAT)
        return floats if bits == _FLOAT else bits


def _shaped(proto: onnx.ModelProto, axes: Mapping[str, int]) -> onnx.GraphProto:
    """The graph with free axes filled in, large weights left out, and all shapes inferred."""
    bare = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    graph = bare.graph
    graph.name = proto.graph.name
    graph.node.extend(proto.graph.node)
    graph.output.extend(helper.make_empty_tensor_value_info(v.name) for v in proto.graph.output)
    weights = {w.name for w in proto.graph.initializer}
    graph.input.extend(v for v in proto.graph.input if v.name not in weights)
    for weight in proto.graph.initializer:
        if math.prod(weight.dims) > _LARGE:
            graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims)))
        else:
            graph.initializer.append(weight)
    for value in graph.input:
        for i, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value"):
                axis.dim_value = axes.get(axis.dim_param or f"{value.name}_{i}", 1)
    return shape_inference.infer_shapes(bare, data_prop=True).graph


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Every value whose shape is known in full."""
    found = {w.name: tuple(w.dims) for w in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return found


def _bits(kind: int) -> int:
    """Of one element; 32 where the type is not known."""
    if kind in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return 4
    try:
        return 8 * int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except KeyError:
        return _FLOAT
