"""What is achieved, layer by layer, against what this machine can do: which layers compute, which wait, which idle.

A layer cannot take less time than its arithmetic at the peak of its precision, nor less than its bytes at the bandwidth
of the memory that holds them (Williams, Waterman and Patterson 2009, "Roofline"). The longer of the two is its floor;
floor / time is its utilization. Times are the engine's own account, the arithmetic is counted from the file.

Bytes are those that enter or leave a layer as the engine fused it. Each level of cache is taken to keep what it
can: weights are read anew at each call, so as large a part of them is near as fits of those of the whole network;
activations have just been written, so they are as near as those of the layer fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import onnx

from hasten.measure._owners import called, owners, run_alone
from hasten.measure._tensors import Tensors
from hasten.measure.flops import RULES, Work, of
from hasten.measure.peaks import Peaks
from hasten.model import OnnxModel
from hasten.provenance import label, module_of, nodes

Bound = Literal["compute", "memory", "overhead", "unknown"]
IDLE = 0.1  # a layer that uses less than this of both is held up by something else
_PRECISIONS = {"i8": "int8"}
_FLOATS = {"bf16": 16, "f16": 16}  # bits


@dataclass(frozen=True)
class Achieved:
    """One layer as the engine executes it.

    Attributes:
        layer, op, precision: the engine's words.
        of: nodes of the file that it is made of, and `ops`, their operators.
        modules: the user's, that it computes.
        ms: that a call spends in it.
        share: of the time of all layers.
        macs: multiply-adds for a call.
        operations: two for each of them.
        bytes: of weights and activations that enter or leave it, for a call.
        per_s: operations a second; None where the engine's clock shows no time.
        bytes_per_s: the same of bytes.
        utilization: of its floor; above 1 where the engine has a way with fewer operations (Winograd) or less traffic
            than was counted. None where there is nothing to count or it cannot be counted, or no peak of its precision
            is known.
        bound: what it would run into first; overhead where it is far from both; unknown where utilization is.
    """

    layer: str
    op: str
    precision: str
    of: tuple[str, ...]
    ops: tuple[str, ...]
    modules: tuple[str, ...]
    ms: float
    share: float
    macs: int
    operations: int
    bytes: int
    per_s: float | None
    bytes_per_s: float | None
    utilization: float | None
    bound: Bound

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Roofline:
    """Attributes:
    layers: in the order in which they run.
    uncounted: what the arithmetic of the layers lacks: operators without a rule, nodes that no layer claims, layers
        that multiply and whose nodes were not found.
    """

    layers: tuple[Achieved, ...]
    uncounted: tuple[str, ...]


def roofline(
    layers: Sequence[Mapping[str, Any]],
    model: OnnxModel,
    peaks: Peaks,
    samples: int = 1,
    axes: Mapping[str, int] | None = None,
) -> Roofline:
    """
    Args:
        layers: of `Stand.profile`, in the order in which they run.
        model: the file that the engine read.
        peaks: with the threads that the engine had.
        samples: in a call.
        axes: length of free axes other than the batch, by name.
    """
    named = OnnxModel(label(model.proto))
    tensors = Tensors(named, axes)
    counted = of(tensors, named, axes)
    work = {one.node: one for one in counted.work}
    owned = owners(layers, tensors.graph)
    parts: dict[int, list[onnx.NodeProto]] = {}
    for node in nodes(tensors.graph):
        if called(node) in owned:
            parts.setdefault(owned[called(node)], []).append(node)
    alone, held = run_alone(parts.values()), {bits: tensors.constants(bits) for bits in (16, 32)}
    batch = 1 if model.signature.batch else model.signature.fixed_batch
    whole = sum(layer["ms"] for layer in layers) or 1.0
    rows = []
    for place, layer in enumerate(layers):
        part, bits = parts.get(place, []), _FLOATS.get(layer["precision"], 32)
        weights, moved = tensors.traffic(part, bits, alone)
        moved = moved * samples // batch
        done = [work[called(node)] for node in part if called(node) in work]
        modules = [w.module for w in done] or [module_of(node) or "" for node in part]
        operations = samples * sum(w.operations for w in done)
        memory_s = _read_s(weights, held[bits], peaks) + _read_s(moved, moved, peaks)
        told = all(w.known for w in done) and not any(_inner(node, work) for node in part)
        used, bound = _used(layer, operations, weights + moved, memory_s, peaks) if told else (None, "unknown")
        rows.append(
            Achieved(
                layer=layer["name"],
                op=layer["op"],
                precision=layer["precision"],
                of=tuple(map(called, part)),
                ops=tuple(node.op_type for node in part),
                modules=tuple(dict.fromkeys(filter(None, modules))),
                ms=layer["ms"],
                share=layer["ms"] / whole,
                macs=operations // 2,
                operations=operations,
                bytes=weights + moved,
                per_s=_rate(operations, layer["ms"]),
                bytes_per_s=_rate(weights + moved, layer["ms"]),
                utilization=used,
                bound=bound,
            )
        )
    lost = (f"{w.op} {w.node}, in no layer" for w in counted.work if w.macs and w.node not in owned)
    empty = (
        f"the layer {layer['name']}, in which no node was found"
        for place, layer in enumerate(layers)
        if layer["heavy"] and place not in parts
    )
    return Roofline(tuple(rows), (*counted.unknown, *lost, *empty))


def _inner(node: onnx.NodeProto, work: Mapping[str, Work]) -> bool:
    """Whether it multiplies inside a branch or a loop, where nobody counts."""
    return node.op_type in RULES and called(node) not in work


def _used(
    layer: Mapping[str, Any], operations: int, moved: int, memory_s: float, peaks: Peaks
) -> tuple[float | None, Bound]:
    """Utilization, and what it is of."""
    most = peaks.operations.get(_PRECISIONS.get(layer["precision"], layer["precision"]))
    if not layer["ms"] or not moved or (operations and not most):
        return None, "unknown"
    compute_s = operations / most if most else 0.0
    used = max(compute_s, memory_s) / (layer["ms"] / 1e3)
    if used < IDLE:
        return used, "overhead"
    return used, "compute" if compute_s > memory_s else "memory"


def _rate(count: int, ms: float) -> float | None:
    return count / (ms / 1e3) if ms else None


def _read_s(count: int, held: int, peaks: Peaks) -> float:
    """Seconds to read so many of `held` bytes, which are kept as near as they fit."""
    near, spent = 0, 0.0
    for level, rate in peaks.read.items():
        fits = max(near, min(held, peaks.holds.get(level, held)))
        near, spent = fits, spent + (fits - near) / rate
    return spent * count / held if held else 0.0
