"""What an ONNX graph does for one sample: multiply-adds, and the bytes that it reads and writes, node by node.

1 MAC = 2 FLOPs, counted from shapes, a rule an operator. As is the custom, only what convolutions and matrix products
multiply counts; what works element by element, reduces, normalises or moves counts nothing (`NOTHING`). An operator in
neither table is named in the answer, never guessed.

Bytes are those of an engine that fuses Q and DQ into the layers around them: what a layer reads through DQ, or writes
for Q alone, is moved in 8 bits. Every node reads its operands and writes its results once: no cache is assumed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import onnx
from onnx import helper

from hasten.measure._tensors import STILL, STORED, Shape, Tensors
from hasten.model import OnnxModel
from hasten.provenance import module_of

Shapes = list[Shape | None]  # of inputs or outputs in order; None: absent or not known

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
TREES = frozenset({"TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor"})  # they compare, and add
_OWN, _ML = ("", "ai.onnx"), "ai.onnx.ml"


@dataclass(frozen=True)
class Work:
    """What one node does for one sample.

    Attributes:
        node: its name, or that of its first output.
        op: operator.
        module: the user's module that it belongs to; empty where nobody has said.
        macs: multiply-adds.
        integer: whether both operands are stored in 8 bits or fewer, so that engines multiply whole numbers.
        weights: bytes of constants that it reads.
        moved: bytes of activations that it reads and writes.
        known: whether its multiply-adds could be told.
    """

    node: str
    op: str
    module: str
    macs: int
    integer: bool
    weights: int
    moved: int
    known: bool = True

    @property
    def operations(self) -> int:
        """FLOPs, or operations on whole numbers: two for each multiply-add."""
        return 2 * self.macs

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.operations / max(1, self.weights + self.moved)


@dataclass(frozen=True)
class Count:
    """Attributes:
    macs: multiply-adds for one sample.
    unknown: what is not in them: operators without a rule, shapes that cannot be told, free axes taken as 1.
    work: of each node that computes or moves something, in the order of the graph.
    """

    macs: int
    unknown: tuple[str, ...]
    work: tuple[Work, ...] = field(default=(), compare=False)

    @property
    def flops(self) -> int:
        """Floating-point operations for one sample: two for each multiply-add that is not of whole numbers."""
        return sum(w.operations for w in self.work if not w.integer)

    @property
    def integer_operations(self) -> int:
        """The same of whole numbers."""
        return sum(w.operations for w in self.work if w.integer)

    @property
    def weights(self) -> int:
        """Bytes of constants that are read."""
        return sum(w.weights for w in self.work)

    @property
    def moved(self) -> int:
        """Bytes of activations that are read and written."""
        return sum(w.moved for w in self.work)

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return 2 * self.macs / max(1, self.weights + self.moved)

    def modules(self) -> dict[str, Work]:
        """The same of the user's modules, each the sum of its nodes."""
        found: dict[str, Work] = {}
        for w in self.work:
            known = found.get(w.module, Work(w.module, "", w.module, 0, w.integer, 0, 0))
            found[w.module] = replace(
                known,
                macs=known.macs + w.macs,
                integer=known.integer if not w.macs else w.integer,
                weights=known.weights + w.weights,
                moved=known.moved + w.moved,
            )
        return found


def count(model: OnnxModel, axes: Mapping[str, int] | None = None) -> Count:
    """Multiply-adds for one sample; a quantized graph counts like the one it was made from.

    A free batch axis is taken as 1, and a fixed batch divided out.

    Args:
        axes: length of other free axes by name; one that is not here is taken as 1 too, and named.
    """
    return of(Tensors(model, axes), model, axes)


def of(tensors: Tensors, model: OnnxModel, axes: Mapping[str, int] | None = None) -> Count:
    """The same where the shapes have been told already."""
    shapes, free = tensors.shapes, [name for name in _free(model) if name not in (axes or {})]
    batch = 1 if model.signature.batch else model.signature.fixed_batch
    total, unknown, work = 0, {f"free axis {name!r}": None for name in free}, []
    for node in tensors.graph.node:
        found, known = 0, True
        if not (node.op_type in TREES if node.domain == _ML else node.op_type in NOTHING and node.domain in _OWN):
            rule = RULES.get(node.op_type) if node.domain in _OWN else None
            made = rule and rule(node, [shapes.get(n) for n in node.input], [shapes.get(n) for n in node.output])
            known = made is not None
            if not known:
                unknown[f"{node.op_type} {node.name or node.output[0]}" if rule else node.op_type] = None
            found = made or 0
        total += found
        if node.op_type not in STILL | STORED:
            weights, moved = tensors.traffic(tensors.fused(node))
            work.append(
                Work(
                    node=node.name or next(filter(None, node.output)),
                    op=node.op_type,
                    module=module_of(node) or "",
                    macs=found // batch,
                    integer=bool(found) and tensors.integer(node),
                    weights=weights,
                    moved=moved // batch,
                    known=known,
                )
            )
    return Count(total // batch, tuple(unknown), tuple(work))


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


def _free(model: OnnxModel) -> list[str]:
    """Free axes of the inputs other than the batch."""
    axes = [axis for tensor in model.signature.inputs for axis in tensor.shape if isinstance(axis, str)]
    return sorted({axis for axis in axes if axis != model.signature.batch})


def _attribute(node: onnx.NodeProto, name: str, default: int | str) -> int | str:
    found = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
    return found.decode() if isinstance(found, bytes) else found
