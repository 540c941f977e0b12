"""torch -> ONNX: one file, weights inside, proven against torch on real data before it is handed over."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hasten.data import Data
from hasten.engine import Engine, available
from hasten.errors import HastenError, InputError, MissingError
from hasten.model import HISTORY, Arrays, OnnxModel, Signature, TorchModel
from hasten.provenance import MODULE, label, nodes

if TYPE_CHECKING:
    import onnx
    import onnx_ir
    import torch

OPSET = 20  # the newest that both exporters write, and the default of torch 2.13
TOLERANCE = 1e-3  # of the largest magnitude of an output: summation order costs 1e-5, a wrong operator far more
_ROOT = "network"  # where the user's module hangs in the module that is exported
_PROOF_SAMPLES = 16


@dataclass(frozen=True)
class Exported:
    """An ONNX model and how far it is from torch."""

    model: OnnxModel
    exporter: str  # "dynamo" or "torchscript"
    opset: int
    max_abs_difference: float  # over all outputs, samples and batch sizes that were compared


def export(model: TorchModel, data: Data) -> Exported:
    """Export with the dynamo exporter and, where that refuses or errs, with the older one.

    Inputs, outputs and free axes are named as in the signature; a fixed batch stays fixed. Each node keeps the name of
    the user's module it came from.

    Args:
        model: its outputs are read as `hasten.engines.torch.call` names them.
        data: real samples; some twenty, in batches of several sizes, are compared with torch on an ONNX engine.

    Raises:
        InputError: neither exporter gives a graph that answers as torch does; both reasons are in the sentence.
        MissingError: no ONNX engine is here to compare with.
    """
    engines = available("onnx")
    if not engines:
        raise MissingError(
            "an export is compared with torch, and no ONNX engine is installed", "pip install 'hasten[onnxruntime]'"
        )
    reasons = []
    for name, exporter in (("dynamo", _dynamo), ("torchscript", _torchscript)):
        try:
            made = _named(exporter(model, _example(model.signature, data)), model)
            difference = _compared(model, made, data, engines[0])
        except MissingError:
            raise
        except Exception as fault:  # an exporter raises whatever it pleases
            reasons.append(f"{name}: {_brief(fault)}")
        else:
            return Exported(made, name, made.opset, difference)
    raise InputError(
        f"the model cannot be exported to ONNX ({'; '.join(reasons)})",
        "keep control flow that depends on values, and operators of your own, out of forward",
    )


def _example(signature: Signature, data: Data) -> Arrays:
    """Inputs to trace with: three samples where the batch is free, since exporters treat 0 and 1 as special."""
    return _feed(data, 3 if signature.batch else signature.fixed_batch)


def _feed(data: Data, count: int, first: int = 0) -> dict[str, np.ndarray]:
    """`count` samples from `first` on; after the last comes the first again."""
    rows = np.arange(first, first + count) % len(data)
    return {name: np.ascontiguousarray(array[rows]) for name, array in data.inputs.items()}


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


def _dynamo(model: TorchModel, example: Arrays) -> "onnx_ir.Model":
    import torch

    inputs, outputs = _places(model)
    dims = {axis: torch.export.Dim(axis) for axes in _free_axes(model.signature) for axis in axes.values()}
    shapes = tuple({i: dims[axis] for i, axis in axes.items()} for axes in _free_axes(model.signature))
    with _quiet():
        program = torch.onnx.export(
            _wrapped(model),
            _tensors(model, example),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes={"inputs": shapes} if dims else None,
        )
    assert program is not None
    return program.model


def _torchscript(model: TorchModel, example: Arrays) -> "onnx_ir.Model":
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
            opset_version=OPSET,
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


def _compared(model: TorchModel, made: OnnxModel, data: Data, engine: Engine) -> float:
    """Largest difference from torch over batches of several sizes, or over several calls where the size is fixed.

    Raises:
        InputError: an output differs by more than the tolerance.
    """
    from hasten.engines.torch import call

    if made.signature != model.signature:
        raise InputError(f"the exported signature is {made.signature}", f"torch has {model.signature}")
    fixed = model.signature.fixed_batch
    sizes = [_PROOF_SAMPLES, 5, 1] if model.signature.batch else [fixed] * -(-_PROOF_SAMPLES // fixed)
    largest = 0.0
    with engine.compile(made) as session:
        for i, size in enumerate(sizes):
            samples = _feed(data, size, sum(sizes[:i]))
            feed = {t.name: samples[t.name] for t in model.signature.inputs}
            right, came = call(model.module, feed), session(feed)
            for name, expected in right.items():
                difference, allowed = _difference(came[name], expected)
                if not difference <= allowed:
                    raise InputError(
                        f"{name!r} differs from torch by {difference:.3g} at batch {size}",
                        f"at most {allowed:.3g} is allowed",
                    )
                largest = max(largest, difference)
    return largest


def _difference(came: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest absolute difference (equal infinities and NaNs have none), and what is allowed."""
    if expected.dtype.kind != "f":
        return float((came != expected).sum()), 0.0
    same = (came == expected) | (np.isnan(came) & np.isnan(expected))
    apart = np.where(same, 0.0, np.abs(came.astype(np.float64) - expected))
    finite = np.abs(expected[np.isfinite(expected)])
    return float(apart.max(initial=0.0)), TOLERANCE * max(1.0, float(finite.max(initial=0.0)))


def _brief(fault: Exception) -> str:
    """The first line of what was said at the root of it, shortened."""
    if isinstance(fault, HastenError):
        return str(fault)
    while isinstance(fault.__cause__, Exception):
        fault = fault.__cause__
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return f"{type(fault).__name__}: {lines[0][:200] if lines else 'no reason given'}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both exporters talk: about torchvision, about each other, about every traced branch. Silenced only here."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
