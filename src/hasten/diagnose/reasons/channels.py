"""channels: counts that miss the width of the vectors, so that a layer computes channels that nobody needs.

Decided by a race of the layer alone with the next count that fits, in floats; the width is that of the instruction
set: 16 floats of AVX-512, 8 of AVX2, 4 of NEON.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hasten.diagnose.slow import Evidence, Finding, held, named
from hasten.model import OnnxModel

LEAST, TRIED = 0.03, 3  # share of the call; layers that are raced, the slowest
LEVEL = 1.03  # what the wider layer may take more than the one as it is


def look(seen: Evidence) -> Iterator[Finding]:
    width = next((n for name, n in (("avx512f", 16), ("avx2", 8), ("asimd", 4)) if name in seen.isa), 4)
    odd = [
        (layer, node, count)
        for layer in sorted(seen.layers, key=lambda layer: -layer["ms"])
        for node in seen.of(layer, "Conv")
        if layer["precision"] != "i8"
        and layer["ms"] >= LEAST * seen.ms
        and (count := channels(node, seen))
        and count % width
    ][:TRIED]
    found: list[Mapping[str, Any]] = []
    said = []
    for layer, node, count in odd:
        fits = -(-count // width) * width
        if _raced(seen, node, count, fits) <= LEVEL:
            found.append(layer)
            said.append(f"{count} take as long as {fits}")
    if not found:
        return
    yield Finding(
        reason="channels",
        what=f"{len(found)} layers have channels that miss the vectors of {width}: {', '.join(dict.fromkeys(said))}",
        ms=held(found),
        remedy=f"use the counts that fit, or prune down to the next multiple: prune(widths=({width} ...))",
        layers=named(found),
        figures={"layers": len(found), "share": held(found) / seen.ms, "width": width},
    )


def channels(node: onnx.NodeProto, seen: Evidence) -> int | None:
    """Filters of a plain convolution over images; None of others, and where shapes are not known."""
    shape, given = seen.tensors.shapes.get(node.input[1]), seen.tensors.shapes.get(node.input[0])
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return shape[0] if shape and given and len(shape) == 4 and group == 1 else None


def _raced(seen: Evidence, node: onnx.NodeProto, count: int, fits: int) -> float:
    """How much longer the layer takes with filters that fit: the upper end of the 95 % interval."""
    with TemporaryDirectory(prefix="hasten-") as scratch:
        paths = [alone(node, seen, n).save(Path(scratch) / f"{n}.onnx").path for n in (count, fits)]
        shape = seen.tensors.shapes[node.input[0]]
        feed = {"x": np.random.default_rng(0).normal(size=(2, *shape[1:])).astype(np.float32)}
        race = seen.times([(path, seen.engine) for path in paths if path], feed)
    return race.speedup(0, over=1).high


def alone(node: onnx.NodeProto, seen: Evidence, filters: int) -> OnnxModel:
    """A network of this convolution and nothing else, in floats, with so many filters."""
    shape, given = seen.tensors.shapes[node.input[1]], seen.tensors.shapes[node.input[0]]
    weights = np.random.default_rng(0).normal(size=(filters, *shape[1:])).astype(np.float32)
    kept = [a for a in node.attribute if a.name in ("strides", "pads", "dilations", "kernel_shape", "auto_pad")]
    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    conv.attribute.extend(kept)
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", *given[1:])),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", filters, "h", "w")),
    ]
    graph = helper.make_graph([conv], "alone", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    return OnnxModel(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
