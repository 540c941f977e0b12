"""memory: layers that wait for their bytes, which fewer multiply-adds will not make faster.

Decided by the roofline: the bound of each layer, by its bytes and the bandwidth that was measured.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, held, named, places

REST = 2
LEAST = 0.25  # share of the call


def look(seen: Evidence) -> Iterator[Finding]:
    bound = [layer for layer in seen.rest if layer["bound"] == "memory" and layer["macs"]]
    if held(bound) < LEAST * seen.ms:
        return
    small = not seen.model.quantized
    moved = sum(layer["bytes"] for layer in bound)
    yield Finding(
        reason="memory",
        what=f"{len(bound)} layers wait for {moved / 1e6:.3g} MB a call: fewer multiply-adds alone change nothing",
        ms=held(bound),
        remedy="store them in 8 bits" if small else "fewer weights, or several samples a call that share them",
        apply={"recipe": f"quantize(method=placed, engine={seen.engine_name})", "on": "this"} if small else None,
        layers=named(bound),
        figures={"layers": len(bound), "share": held(bound) / seen.ms, "mb": moved / 1e6},
        claims=places(bound),
    )
