"""reorders: layers that only move values into another layout, which the file does not ask for.

Decided by the executed graph and its times. The remedy is the engine on which the same file was measured to be faster.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, held, named

LEAST = 0.05  # share of the call
FASTER = 1.05
_OPS = {"Reorder", "ReorderInput", "ReorderOutput"}


def look(seen: Evidence) -> Iterator[Finding]:
    moved = [
        layer
        for layer in seen.layers
        if layer["op"] in _OPS or (layer["op"] == "Transpose" and not seen.of(layer, "Transpose"))
    ]
    if held(moved) < LEAST * seen.ms:
        return
    other = min((r for r in seen.others if not r["reason"]), key=lambda r: r["latency_p50_ms"], default=None)
    faster = other if other and FASTER * other["latency_p50_ms"] < seen.ms else None
    yield Finding(
        reason="reorders",
        what=f"{len(moved)} of its layers only bring values into another layout",
        ms=held(moved),
        remedy=f"{faster['engine']} needs {faster['latency_p50_ms']:.3g} ms for this file"
        if faster
        else "keep layers that the engine has in one layout next to each other: no reshape or transpose between them",
        apply={"engine": faster["engine"]} if faster else None,
        layers=named(moved),
        figures={"layers": len(moved), "share": held(moved) / seen.ms},
    )
