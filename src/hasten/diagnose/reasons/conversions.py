"""conversions: Q and DQ that the engine runs on their own, between layers, instead of fusing them.

Decided by the executed graph: layers that are made of Q and DQ alone, by their time.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, held, named, places

LEAST = 0.05  # share of the call
_STORED = {"QuantizeLinear", "DequantizeLinear"}
_OPS = {"QuantizeLinear", "DequantizeLinear", "FakeQuantize", "Quantize", "Dequantize"}  # the engines' words


def look(seen: Evidence) -> Iterator[Finding]:
    if not seen.model.quantized:
        return
    alone = [layer for layer in seen.layers if layer["op"] in _OPS or (layer["ops"] and set(layer["ops"]) <= _STORED)]
    if held(alone) < LEAST * seen.ms:
        return
    yield Finding(
        reason="conversions",
        what=f"{len(alone)} of its layers do nothing but turn floats into bytes and back",
        ms=held(alone),
        remedy=f"quantize the original anew, with Q and DQ where {seen.engine_name} fuses them",
        apply={"recipe": f"quantize(method=placed, engine={seen.engine_name})", "on": "original"},
        layers=named(alone),
        figures={"layers": len(alone), "share": held(alone) / seen.ms},
        claims=places(alone),
    )
