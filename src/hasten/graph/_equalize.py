"""Scales moved from one layer into the next, so that rounding hurts less; the network answers as before.

What a layer gives is divided by a factor for each channel, and the layers that read it multiply their weights by it. An
activation between them lets factors above zero through when it is ReLU. Two choices of the factors are in use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from hasten.model import Arrays

if TYPE_CHECKING:
    import onnx

By = Literal["weights", "activations"]
LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
NORM = "LayerNormalization"
STRENGTH = 0.5  # share of the outliers that go from activations into weights (Xiao et al. 2022)
LIMITS = (1e-3, 1e3)  # of a factor


@dataclass(frozen=True)
class Pair:
    """A layer, or a norm, and those that read what it gives, each along the same channels."""

    source: "onnx.NodeProto"
    between: str  # the tensor that is read
    readers: tuple["onnx.NodeProto", ...]


def equalized(proto: "onnx.ModelProto", by: By, feeds: Sequence[Arrays]) -> "onnx.ModelProto":
    """A copy in which neighbours share their scales.

    Args:
        proto: simplified, with unique node names.
        by: weights: ranges of either layer's weights become equal, pair after pair, once (Nagel et al. 2019,
            arXiv:1906.04721); activations: half of their outliers go into the weights (SmoothQuant, Xiao et al. 2022,
            arXiv:2211.10438).
        feeds: one call's inputs each.
    """
    import onnx

    from hasten.graph._ranges import runner

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = _Weights(made)
    pairs = _pairs(made, graph)
    most: dict[str, np.ndarray] = {}
    if by == "activations" and pairs:
        run = runner(proto, sorted({p.between for p in pairs}))
        axes = {p.between: _axis(p.readers[0]) for p in pairs}
        for feed in feeds:
            for name, values in run(feed):
                peak = np.abs(np.moveaxis(values, axes[name], 0)).reshape(values.shape[axes[name]], -1).max(1)
                most[name] = np.maximum(most.get(name, 0.0), peak)
    for pair in pairs:
        heard = np.max([_heard(graph, reader) for reader in pair.readers], 0)
        if by == "weights":
            said = _said(graph, pair.source)
            factor = np.sqrt(said / np.maximum(heard, 1e-12))
        else:
            said = most[pair.between]
            factor = said**STRENGTH / np.maximum(heard, 1e-12) ** (1 - STRENGTH)
        factor = np.where((said > 0) & (heard > 0), np.clip(factor, *LIMITS), 1.0).astype(np.float32)
        _divide(graph, pair.source, factor)
        for reader in pair.readers:
            _multiply(graph, reader, factor)
    graph.drop_unused()
    return made


class _Weights:
    """The constants of a graph; one that changes gets a name of its own, since others may share it."""

    def __init__(self, proto: "onnx.ModelProto") -> None:
        import onnx

        self.graph = proto.graph
        self.arrays = {w.name: onnx.numpy_helper.to_array(w) for w in proto.graph.initializer}

    def set(self, node: "onnx.NodeProto", place: int, array: np.ndarray) -> None:
        import onnx

        name = f"{node.name}.{place}.equalized"
        for old in [w for w in self.graph.initializer if w.name == name]:
            self.graph.initializer.remove(old)
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        self.arrays[name] = array
        node.input[place] = name

    def drop_unused(self) -> None:
        from hasten.provenance import nodes

        read = {name for node in nodes(self.graph) for name in node.input} | {o.name for o in self.graph.output}
        kept = [w for w in self.graph.initializer if w.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def _pairs(proto: "onnx.ModelProto", weights: _Weights) -> list[Pair]:
    nodes, outputs = list(proto.graph.node), {o.name for o in proto.graph.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for source in nodes:
        if not _can_give(source, weights):
            continue
        name = str(source.output[0])
        while len(readers.get(name, ())) == 1 and name not in outputs and readers[name][0].op_type == "Relu":
            name = str(readers[name][0].output[0])
        heard = tuple(readers.get(name, ()))
        fits = heard and name not in outputs and all(_can_hear(r, name, source, weights) for r in heard)
        if fits and len({len(_heard(weights, r)) for r in heard} | {_channels(source, weights)}) == 1:
            found.append(Pair(source, name, heard))
    return found


def _can_give(node: "onnx.NodeProto", weights: _Weights) -> bool:
    if node.op_type not in LAYERS | {NORM} or len(node.input) < 2:
        return False
    whole = all(name in weights.arrays for name in node.input[1:] if name)
    return whole and not (node.op_type == "Gemm" and not _plain(node))


def _can_hear(node: "onnx.NodeProto", name: str, source: "onnx.NodeProto", weights: _Weights) -> bool:
    """Whether it reads `name` along the channels that the source gives."""
    if node.op_type not in LAYERS or node.input[0] != name or node.input[1] not in weights.arrays:
        return False
    if name in node.input[1:] or (node.op_type == "Gemm" and not _plain(node)):
        return False
    if (node.op_type == "Conv") != (source.op_type == "Conv"):
        return False
    return weights.arrays[node.input[1]].ndim == 2 or node.op_type == "Conv"


def _plain(node: "onnx.NodeProto") -> bool:
    return not any((a.name == "transA" and a.i) or (a.name in ("alpha", "beta") and a.f != 1.0) for a in node.attribute)


def _axis(reader: "onnx.NodeProto") -> int:
    """Of the channels in what it reads."""
    return 1 if reader.op_type == "Conv" else -1


def _groups(node: "onnx.NodeProto") -> int:
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def _across(node: "onnx.NodeProto") -> bool:
    """Whether the weight is [out, in]."""
    return node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)


def _channels(source: "onnx.NodeProto", weights: _Weights) -> int:
    weight = weights.arrays[source.input[1]]
    return int(weight.shape[0 if source.op_type == NORM or _across(source) else -1])


def _said(weights: _Weights, source: "onnx.NodeProto") -> np.ndarray:
    """The largest weight of each channel that it gives."""
    weight = np.abs(weights.arrays[source.input[1]])
    if source.op_type == NORM:
        return np.asarray(weight.reshape(-1))
    rows = weight if _across(source) else np.moveaxis(weight, -1, 0)
    return np.asarray(rows.reshape(len(rows), -1).max(1))


def _heard(weights: _Weights, reader: "onnx.NodeProto") -> np.ndarray:
    """The largest weight with which it hears each channel."""
    weight = np.abs(weights.arrays[reader.input[1]])
    if reader.op_type != "Conv":
        return np.asarray(weight.max(0) if _across(reader) else weight.max(1))
    taps = weight.reshape(_groups(reader), -1, weight.shape[1], int(np.prod(weight.shape[2:])))
    return np.asarray(taps.max((1, 3)).reshape(-1))


def _divide(weights: _Weights, source: "onnx.NodeProto", factor: np.ndarray) -> None:
    weight = weights.arrays[source.input[1]]
    across = source.op_type == NORM or _across(source)
    shape = [-1, *[1] * (weight.ndim - 1)] if across else [*[1] * (weight.ndim - 1), -1]
    weights.set(source, 1, weight / factor.reshape(shape))
    if len(source.input) > 2 and source.input[2]:
        bias = weights.arrays[source.input[2]]
        weights.set(source, 2, bias / factor)


def _multiply(weights: _Weights, reader: "onnx.NodeProto", factor: np.ndarray) -> None:
    weight = weights.arrays[reader.input[1]]
    if reader.op_type != "Conv":
        weights.set(reader, 1, weight * (factor if _across(reader) else factor[:, None]))
        return
    own = factor.reshape(_groups(reader), -1).repeat(len(weight) // _groups(reader), 0)  # [out, in of a group]
    weights.set(reader, 1, weight * own.reshape(*own.shape, *[1] * (weight.ndim - 2)))
