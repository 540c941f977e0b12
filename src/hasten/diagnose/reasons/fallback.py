"""fallback: the engine does not do what it was asked to, or has no code of its own for an operator.

Decided by the executed graph: a precision that was asked for and is not there, and OpenVINO's reference layers, which
are plain loops.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, faster, held, named, places

LEAST = 0.05  # share of the call
_PLAIN = {"Reference"}


def look(seen: Evidence) -> Iterator[Finding]:
    asked, other = seen.engine.precision, faster(seen)
    plain = [layer for layer in seen.layers if layer["op"] in _PLAIN]
    heavy = [layer for layer in seen.layers if layer["macs"] and layer["precision"] != "i8"]
    wider = [layer for layer in heavy if asked == "bf16" and layer["precision"] == "f32"]
    if held(plain) >= LEAST * seen.ms:
        ops = sorted({node.op_type for layer in plain for node in seen.of(layer)})
        yield Finding(
            reason="fallback",
            what=f"{seen.engine_name} runs {', '.join(ops) or 'some operators'} in plain loops",
            ms=held(plain),
            remedy="write them with operators that it has, or take another engine",
            apply={"engine": other["engine"]} if other else None,
            layers=named(plain),
            figures={"layers": len(plain), "share": held(plain) / seen.ms},
            claims=places(plain),
        )
    if held(wider) >= LEAST * seen.ms:
        yield Finding(
            reason="fallback",
            what=f"{len(wider)} layers run in f32, though {asked} was asked for",
            ms=held(wider),
            remedy=f"see whether f32 as a whole is faster: turning values into {asked} and back costs time",
            apply={"engine": other["engine"]} if other else None,
            layers=named(wider),
            figures={"layers": len(wider), "share": held(wider) / seen.ms},
            claims=places(wider),
        )
