"""vnni: INT8 on a processor without instructions for it, where it gains memory and little time.

Decided by the kernel's list of instruction sets, and by layers that run in INT8.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, held, named

LEAST = 0.10  # share of the call
DOTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}


def look(seen: Evidence) -> Iterator[Finding]:
    small = [layer for layer in seen.layers if layer["macs"] and layer["precision"] == "i8"]
    if DOTS & set(seen.isa) or held(small) < LEAST * seen.ms:
        return
    yield Finding(
        reason="vnni",
        what=f"{len(small)} layers run in INT8, and this processor has no instruction that multiplies and adds bytes",
        ms=held(small),
        remedy="serve it on a processor with VNNI, AMX, or the dot product of Arm; or compare with the floats here",
        layers=named(small),
        figures={"layers": len(small), "share": held(small) / seen.ms},
    )
