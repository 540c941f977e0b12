"""simplify: the same numbers from a plainer graph, which later passes and engines can read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hasten.errors import NotApplicable
from hasten.model import Model, OnnxModel
from hasten.technique import Technique

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from hasten.task import Task

_OLDEST_OPSET = 13  # below it the rewriter's rules and per-channel quantization do not hold


@dataclass(frozen=True)
class Simplify(Technique):
    """Constants folded into initializers, batch norm folded into what feeds it, no-ops removed, names made unique.

    Weights that stand in Constant nodes become initializers; arithmetic on constants is done once; BatchNormalization
    goes into the Conv, ConvTranspose or Gemm before it, where nobody else reads that one's output or weights; Identity,
    Dropout, casts and reshapes without effect go; equal initializers are merged, unused ones removed; functions are
    inlined; shapes are inferred. INT8 stays: Q and DQ of constants are left alone. Opsets below 13 are converted to 13.

    Settings:
        fold_max_elements: a folded constant may make the file larger by at most so many elements.

    The rewriting is onnxscript's (its optimizer, https://github.com/microsoft/onnxscript, MIT).
    """

    fold_max_elements: int = 1 << 14

    @classmethod
    def missing(cls) -> str | None:
        try:
            import onnxscript  # noqa: F401
        except ImportError:
            return "onnxscript is not installed: pip install 'hasten[quantize]'"
        return None

    @classmethod
    def variants(cls, model: OnnxModel) -> tuple["Simplify", ...]:
        """Itself, where the graph becomes smaller by it."""
        return (cls(),) if len(simplified(model.proto).graph.node) < len(model.proto.graph.node) else ()

    def apply(self, model: Model, task: "Task") -> OnnxModel:
        """
        Raises:
            NotApplicable: an opset below 13 that cannot be converted.
        """
        assert isinstance(model, OnnxModel)
        return OnnxModel(simplified(model.proto, self.fold_max_elements))


def simplified(proto: "onnx.ModelProto", fold_max_elements: int = Simplify.fold_max_elements) -> "onnx.ModelProto":
    """The plainer graph; what `Simplify` does, for passes that need it done first."""
    import onnx_ir as ir
    from onnx_ir.passes import common
    from onnxscript.optimizer import optimize_ir

    graph = ir.serde.deserialize_model(_modern(proto))
    common.RemoveInitializersFromInputsPass()(graph)
    common.InlinePass()(graph)
    shapes = [value.shape for value in graph.graph.outputs]
    _forget_shapes(graph)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
    common.LiftSubgraphInitializersToMainGraphPass()(graph)
    _own_biases(graph)
    optimize_ir(graph, num_iterations=4, input_size_limit=1 << 31, output_size_limit=fold_max_elements)
    common.IdentityEliminationPass()(graph)
    common.DeduplicateInitializersPass(size_limit=1 << 31)(graph)
    common.RemoveUnusedNodesPass()(graph)
    common.NameFixPass()(graph)
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(graph)
    for value, shape in zip(graph.graph.outputs, shapes, strict=True):
        value.shape = shape  # as the signature declares it
    return ir.serde.serialize_model(graph)


def _modern(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """In an opset that the rules are written for."""
    from onnx import version_converter

    if not (opset := OnnxModel(proto).opset) or opset >= _OLDEST_OPSET:  # 0: of other operator sets alone
        return proto
    try:
        return version_converter.convert_version(proto, _OLDEST_OPSET)
    except Exception as fault:  # the converter has its own errors for every operator
        raise NotApplicable(
            f"opset {opset} cannot be converted to {_OLDEST_OPSET} ({fault})",
            "export the model again with a newer opset",
        ) from fault


def _forget_shapes(graph: "ir.Model") -> None:
    """Drop what the file claims about inner shapes: a wrong claim would be folded into wrong constants."""
    for owner in (graph.graph, *graph.graph.subgraphs()):
        for node in owner:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None


def _own_biases(graph: "ir.Model") -> None:
    """Give each node before a batch norm a bias of its own: exporters merge equal ones, and then nothing is folded."""
    import onnx_ir as ir

    for i, node in enumerate(graph.graph):
        into = [user.op_type for output in node.outputs for user, _ in output.uses()]
        if into != ["BatchNormalization"] or len(node.inputs) < 3:
            continue
        bias = node.inputs[2]
        if bias is not None and bias.const_value is not None and len(bias.uses()) > 1 and not bias.is_graph_output():
            name = f"{bias.name}.of.{i}"
            own = ir.Value(name=name, type=bias.type, shape=bias.shape, const_value=bias.const_value)
            graph.graph.register_initializer(own)
            node.replace_input_with(2, own)
