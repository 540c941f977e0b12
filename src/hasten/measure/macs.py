"""Multiply-adds of an ONNX graph for one sample: 1 MAC = 2 FLOPs. Counted from shapes, a rule an operator.

As is the custom, only what convolutions and matrix products multiply counts; what works element by element, reduces,
normalises or moves counts nothing (`NOTHING`). An operator in neither table is named in the answer, never guessed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx
from onnx import helper, inliner, shape_inference

from hasten.model import OnnxModel

Shape = tuple[int, ...]
Shapes = list[Shape | None]  # of inputs or outputs in order; None: absent or not known
_LARGE = 1024  # elements above which a weight cannot be a shape, an axis or an index

NOTHING = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
    BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Cos Cosh
    CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike Flatten
    Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow
    QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique
    Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905 - a list of 150 strings would hide what it says
)


@dataclass(frozen=True)
class Count:
    """Attributes:
    macs: multiply-adds for one sample.
    unknown: what is not in them: operators without a rule, shapes that cannot be told, free axes taken as 1.
    """

    macs: int
    unknown: tuple[str, ...]


def count(model: OnnxModel) -> Count:
    """Multiply-adds for one sample; a quantized graph counts like the one it was made from.

    A free batch axis is taken as 1, and a fixed batch divided out. Any other free axis is taken as 1 too, and named.
    """
    graph = _shaped(model)
    shapes = _shapes(graph)
    total, unknown = 0, {f"free axis {name!r}": None for name in _free(model)}
    for node in graph.node:
        if node.op_type in NOTHING and node.domain in ("", "ai.onnx"):
            continue
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            unknown[node.op_type] = None
            continue
        found = rule(node, [shapes.get(n) for n in node.input], [shapes.get(n) for n in node.output])
        if found is None:
            unknown[f"{node.op_type} {node.name or node.output[0]}"] = None
        total += found or 0
    batch = 1 if model.signature.batch else model.signature.fixed_batch
    return Count(total // batch, tuple(unknown))


Rule = Callable[[onnx.NodeProto, Shapes, Shapes], int | None]


def _convolution(weight: int) -> Rule:
    """Each output element takes as many products as a filter [out, in/group, ...] has elements."""

    def rule(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
        made, filters = outputs[0], inputs[weight]
        return None if made is None or filters is None else math.prod(made) * math.prod(filters[1:])

    return rule


def _transposed(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
    """Each input element is multiplied with a whole filter [in, out/group, ...]."""
    taken, filters = inputs[0], inputs[1]
    return None if taken is None or filters is None else math.prod(taken) * math.prod(filters[1:])


def _product(left: int) -> Rule:
    """Each output element is a sum along the last axis of the left operand."""

    def rule(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
        made, taken = outputs[0], inputs[left]
        return None if made is None or not taken else math.prod(made) * taken[-1]

    return rule


def _gemm(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
    made, taken = outputs[0], inputs[0]
    return None if made is None or taken is None else math.prod(made) * taken[0 if _attribute(node, "transA", 0) else 1]


def _recurrent(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
    """Each step of each sample passes W [directions, gates, in] and R [directions, gates, hidden] once."""
    taken, w, r = inputs[:3]
    return None if taken is None or w is None or r is None else math.prod(taken[:2]) * (math.prod(w) + math.prod(r))


def _einsum(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
    """Of two operands: each output element is a sum over the letters that vanish. One operand has no products."""
    left, arrow, right = str(_attribute(node, "equation", "")).replace(" ", "").partition("->")
    terms, made = left.split(","), outputs[0]
    if len(terms) == 1:
        return 0
    if len(terms) > 2 or not arrow or made is None or None in inputs:
        return None  # of three operands it depends on the order; without an arrow the answer's letters are implied
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=True):
        front, dots, back = term.partition("...")
        sizes |= dict(zip(front, shape or (), strict=False))
        sizes |= dict(zip(reversed(back if dots else ""), reversed(shape or ()), strict=False))
    return math.prod(made) * math.prod(size for letter, size in sizes.items() if letter not in right)


def _attention(node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> int | None:
    """Scores, then their weighted sum; operands [N, heads, length, width] or [N, length, heads x width], no cache."""
    query, key, made = inputs[0], inputs[1], outputs[0]
    if query is None or key is None or made is None or any(node.input[4:6]):
        return None
    return key[-2] * (math.prod(query) + math.prod(made))


RULES: Mapping[str, Rule] = {
    "Attention": _attention,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _transposed,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _product(0),
    "MatMulInteger": _product(0),
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _product(0),
    "RNN": _recurrent,
}


def _shaped(model: OnnxModel) -> onnx.GraphProto:
    """The graph with its functions unfolded, free axes set to 1, large weights left out, and all shapes inferred."""
    proto = inliner.inline_local_functions(model.proto) if model.proto.functions else model.proto
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
        for axis in value.type.tensor_type.shape.dim:
            if not axis.HasField("dim_value"):
                axis.dim_value = 1
    return shape_inference.infer_shapes(bare, data_prop=True).graph


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Every value whose shape is known in full."""
    found = {w.name: tuple(w.dims) for w in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            found[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return found


def _free(model: OnnxModel) -> list[str]:
    """Free axes of the inputs other than the batch."""
    axes = [axis for tensor in model.signature.inputs for axis in tensor.shape if isinstance(axis, str)]
    return sorted({axis for axis in axes if axis != model.signature.batch})


def _attribute(node: onnx.NodeProto, name: str, default: int | str) -> int | str:
    found = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
    return found.decode() if isinstance(found, bytes) else found
