"""floats: layers that multiply floats in a file that holds INT8, and what keeps them from it.

Decided by the executed graph: the precision of each layer. What blocks it is read from the file.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import onnx

from hasten.diagnose.slow import Evidence, Finding, held, named, places

LEAST = 0.03  # share of the call below which it is not worth a word
_HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def look(seen: Evidence) -> Iterator[Finding]:
    if not seen.model.quantized:
        return
    left = [layer for layer in seen.layers if layer["macs"] and layer["precision"] != "i8"]
    if held(left) < LEAST * seen.ms:
        return
    why: dict[str, list[Mapping[str, Any]]] = {}
    for layer in left:
        heavy = seen.of(layer, *_HEAVY)
        why.setdefault(blocked(heavy[0], seen) if heavy else "it has no INT8 form here", []).append(layer)
    ordered = sorted(why.items(), key=lambda pair: -held(pair[1]))
    said = "; ".join(f"{len(layers)} because {reason}" for reason, layers in ordered)
    yield Finding(
        reason="floats",
        what=f"{len(left)} of its layers multiply floats, though the file holds INT8: {said}",
        ms=held(left),
        remedy=f"quantize the original anew, with Q and DQ where {seen.engine_name} fuses them",
        apply={"recipe": f"quantize(method=placed, engine={seen.engine_name})", "on": "original"},
        layers=named(left),
        figures={"layers": len(left), "share": held(left) / seen.ms},
        claims=places(left),
    )


def blocked(node: onnx.NodeProto, seen: Evidence) -> str:
    """What is missing around a convolution or product for it to run in INT8."""
    writers = {name: n for n in seen.nodes.values() for name in n.output}
    for name, what in zip(node.input[:2], ("what it reads", "its weights"), strict=False):
        writer = writers.get(name)
        if writer is None or writer.op_type != "DequantizeLinear":
            return f"no DQ stands before {what}"
    readers = [n.op_type for n in seen.nodes.values() if set(n.input) & set(node.output)]
    if "QuantizeLinear" not in readers:
        return f"no Q stands behind it, but {' and '.join(sorted(set(readers))) or 'the end'}"
    return "the engine has no INT8 layer for it as it is quantized"
