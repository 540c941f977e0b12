"""depthwise: convolutions of one filter a channel, which leave most of the arithmetic idle.

Decided by the operations a second that were measured, against the peak that was measured: each weight is used once a
place, so there is little to multiply for what is read.
"""

from collections.abc import Iterator

import onnx

from hasten.diagnose.slow import Evidence, Finding, faster, held, named, places

REST = 1
LEAST, USED = 0.10, 0.15  # share of the call; share of the peak
_PEAKS = {"i8": "int8"}


def look(seen: Evidence) -> Iterator[Finding]:
    peaks = seen.row["roofline"]["peaks"]["operations"]
    found, done, possible = [], 0.0, 0.0
    for layer in seen.rest:
        peak = peaks.get(_PEAKS.get(layer["precision"], layer["precision"]))
        if peak and layer["per_s"] and any(_depthwise(n, seen) for n in seen.of(layer, "Conv")):
            found.append(layer)
            done, possible = done + layer["operations"], possible + peak * layer["ms"] / 1e3
    if not found or held(found) < LEAST * seen.ms or done > USED * possible:
        return
    other = faster(seen)
    remedy = "fewer channels in front of them, or plain convolutions there"
    apply = None
    if other:
        remedy = f"{other['engine']} needs {other['latency_p50_ms']:.3g} ms for this file"
        apply = {"engine": other["engine"]}
    elif not seen.model.quantized:
        remedy = "move fewer bytes: INT8"
        apply = {"recipe": f"quantize(method=placed, engine={seen.engine_name})", "on": "this"}
    yield Finding(
        reason="depthwise",
        what=f"{len(found)} depthwise convolutions use {done / possible:.1%} of the peak of arithmetic",
        ms=held(found),
        remedy=remedy,
        apply=apply,
        layers=named(found),
        figures={"layers": len(found), "share": held(found) / seen.ms, "of_peak": done / possible},
        claims=places(found),
    )


def _depthwise(node: onnx.NodeProto, seen: Evidence) -> bool:
    """As many groups as channels."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    given = seen.tensors.shapes.get(node.input[0], (0, 0))
    return groups > 1 and groups == given[1]
