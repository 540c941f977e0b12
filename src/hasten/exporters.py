"""The two exporters of torch: a module -> an ONNX graph whose names and axes are those of its signature."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from hasten.errors import InputError
from hasten.model import HISTORY, Arrays, OnnxModel, Signature, TorchModel
from hasten.provenance import MODULE, label, nodes

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    import torch

OPSET = 20  # the newest that both exporters write, and the default of torch 2.13
# What each is asked for, in this order. dynamo writes 18 and converts up to 25, and leaves 18 where it cannot go lower;
# the older exporter has symbols up to 20. Newer than 20 comes late, since fewer engines read it.
OPSETS: Mapping[str, tuple[int, ...]] = {
    "dynamo": (OPSET, 23, 18),
    "torchscript": (OPSET, 19, 18, 17, 16, 15, 14, 13),
}
_ROOT = "network"  # where the user's module hangs in the module that is exported


def write(exporter: str, model: TorchModel, example: Arrays, opset: int = OPSET, linked: bool = True) -> OnnxModel:
    """The graph, its ends named as in the signature; each node keeps the name of the user's module it came from.

    Args:
        exporter: one of `OPSETS`.
        example: what is traced: input name -> array; three samples where the batch is free, since exporters treat 0
            and 1 as special.
        opset: one of those that it writes.
        linked: free axes of one name have one length; else dynamo finds out itself how they hang together.

    Raises:
        Exception: an exporter raises whatever it pleases.
    """
    return _named(_EXPORTERS[exporter](model, example, opset, linked), model)


def _wrapped(model: TorchModel) -> "torch.nn.Module":
    """The user's module with its answer flattened into a tuple, in the order of the signature."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(_ROOT, model.module)

        def forward(self, *inputs: "torch.Tensor") -> tuple["torch.Tensor", ...]:
            answer = self.get_submodule(_ROOT)(*inputs)
            if isinstance(answer, torch.Tensor):
                return (answer,)
            return tuple(answer.values() if isinstance(answer, dict) else answer)

    return Flat().eval()


def _free_axes(signature: Signature) -> list[dict[int, str]]:
    """For each input: position of a free axis -> its name."""
    return [{i: axis for i, axis in enumerate(t.shape) if isinstance(axis, str)} for t in signature.inputs]


def _places(model: TorchModel) -> tuple[list[str], list[str]]:
    """Names for inputs and outputs during the export that no operator's parameter can have."""
    sides = model.signature.inputs, model.signature.outputs
    return [f"hasten.input.{i}" for i in range(len(sides[0]))], [f"hasten.output.{i}" for i in range(len(sides[1]))]


def _tensors(model: TorchModel, example: Arrays) -> tuple["torch.Tensor", ...]:
    import torch

    return tuple(torch.from_numpy(example[t.name].copy()) for t in model.signature.inputs)


def _dynamo(model: TorchModel, example: Arrays, opset: int, linked: bool) -> "onnx_ir.Model":
    import torch

    inputs, outputs = _places(model)
    names = (axis for axes in _free_axes(model.signature) for axis in axes.values())
    dims = {axis: torch.export.Dim(axis) if linked else torch.export.Dim.AUTO for axis in names}
    shapes = tuple({i: dims[axis] for i, axis in axes.items()} for axes in _free_axes(model.signature))
    with _quiet():
        program = torch.onnx.export(
            _wrapped(model),
            _tensors(model, example),
            dynamo=True,
            opset_version=opset,
            verbose=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes={"inputs": shapes} if dims else None,
        )
    assert program is not None
    return program.model


def _torchscript(model: TorchModel, example: Arrays, opset: int, linked: bool) -> "onnx_ir.Model":
    import onnx
    import onnx_ir
    import torch

    inputs, outputs = _places(model)
    file = io.BytesIO()
    free = dict(zip(inputs, _free_axes(model.signature), strict=True))
    free |= {
        o: {i: a for i, a in enumerate(t.shape) if isinstance(a, str)}
        for o, t in zip(outputs, model.signature.outputs, strict=True)
    }
    with _quiet(), torch.inference_mode():
        torch.onnx.export(
            _wrapped(model),
            _tensors(model, example),
            file,  # type: ignore[arg-type]  # a file object is documented
            dynamo=False,
            opset_version=opset,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=free,
        )
    return onnx_ir.serde.deserialize_model(onnx.load_from_string(file.getvalue()))


def _named(graph: "onnx_ir.Model", model: TorchModel) -> OnnxModel:
    """Names unique, without the wrapper's prefix; names and shapes of the ends as in the signature."""
    import onnx
    import onnx_ir
    from onnx_ir.passes import common

    for side, tensors in ((graph.graph.inputs, model.signature.inputs), (graph.graph.outputs, model.signature.outputs)):
        if len(side) != len(tensors):
            raise InputError(f"the exporter kept {len(side)} of {len(tensors)} inputs or outputs", "use each of them")
    common.OutputFixPass()(graph)  # an output that is an input, or stands twice, gets an Identity of its own
    ends = [
        *zip(graph.graph.inputs, model.signature.inputs, strict=True),
        *zip(graph.graph.outputs, model.signature.outputs, strict=True),
    ]
    wanted = {t.name for _, t in ends}
    for value in _values(graph):
        name = (value.name or "").removeprefix(f"{_ROOT}.")
        value.name = f"{name}.inner" if name in wanted else name
    for value, tensor in ends:
        value.name, value.shape = tensor.name, onnx_ir.Shape(tensor.shape)
    common.NameFixPass()(graph)
    proto = _bare(label(onnx_ir.serde.serialize_model(graph), root=_ROOT))
    onnx.checker.check_model(proto)
    if model.history:
        proto.metadata_props.add(key=HISTORY, value="\n".join(model.history))
    return OnnxModel(proto)


def _bare(proto: "onnx.ModelProto") -> "onnx.ModelProto":
    """Without the exporter's own notes: they are longer than the graph, and hold paths of the user's source."""
    graph = proto.graph
    for noted in (*nodes(graph), *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, proto):
        kept = [p for p in noted.metadata_props if p.key == MODULE]
        del noted.metadata_props[:]
        noted.metadata_props.extend(kept)
        noted.doc_string = ""
    return proto


def _values(graph: "onnx_ir.Model") -> Iterator["onnx_ir.Value"]:
    """Every named value of the graph and of the graphs inside its nodes."""
    seen: set[int] = set()
    whole = graph.graph
    for owner in (whole, *whole.subgraphs()):
        for value in (*owner.inputs, *owner.initializers.values(), *(v for node in owner for v in node.outputs)):
            if id(value) not in seen:
                seen.add(id(value))
                yield value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters talk: about torchvision, about each other, about every traced branch. Silenced only here."""
    import torch

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    graphs = torch._C._jit_onnx_log  # shows whole graphs on stdout, whatever is set
    torch._C._jit_onnx_log = lambda *said: None
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch._C._jit_onnx_log = graphs
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_EXPORTERS: "Mapping[str, Callable[[TorchModel, Arrays, int, bool], onnx_ir.Model]]" = {
    "dynamo": _dynamo,
    "torchscript": _torchscript,
}
