"""reorders: layers that only move values into another layout, which the file does not ask for.

Decided by the executed graph and its times. The remedy is the engine on which the same file was measured to be faster.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, faster, held, named, places

LEAST = 0.05  # share of the call
_OPS = {"Reorder", "ReorderInput", "ReorderOutput"}


def look(seen: Evidence) -> Iterator[Finding]:
    moved = [
        layer
        for layer in seen.layers
        if layer["op"] in _OPS or (layer["op"] == "Transpose" and not seen.of(layer, "Transpose"))
    ]
    if held(moved) < LEAST * seen.ms:
        return
    other = faster(seen)
    yield Finding(
        reason="reorders",
        what=f"{len(moved)} of its layers only bring values into another layout",
        ms=held(moved),
        remedy=f"{other['engine']} needs {other['latency_p50_ms']:.3g} ms for this file"
        if other
        else "keep layers that the engine has in one layout next to each other: no reshape or transpose between them",
        apply={"engine": other["engine"]} if other else None,
        layers=named(moved),
        figures={"layers": len(moved), "share": held(moved) / seen.ms},
        claims=places(moved),
    )
