"""overhead: at one sample a call, more time passes around and between layers than in what they compute.

Decided by the engine's account: what a call takes beside its layers, and in layers far from any bound.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, held, named, places

REST = 3
LEAST = 0.4  # share of the call
GAIN = 1.2  # by which batches have to answer faster to be the remedy


def look(seen: Evidence) -> Iterator[Finding]:
    found = seen.row["roofline"]
    idle = [layer for layer in seen.rest if layer["bound"] == "overhead"]
    around = max(0.0, 1 - found["sum_ms"] / found["profiled_ms"]) * seen.ms
    lost = around + held(idle)
    if lost < LEAST * seen.ms:
        return
    batch, per_s = seen.row["throughput_batch"], seen.row["throughput_per_s"]
    gain = per_s * seen.ms / 1e3
    pays = batch > 1 and gain > GAIN
    yield Finding(
        reason="overhead",
        what=f"{lost / seen.ms:.0%} of a call passes around {len(seen.layers)} layers, or in {len(idle)} that neither "
        "arithmetic nor memory holds up",
        ms=lost,
        remedy=f"{batch} samples a call answer {gain:.2g} times as many a second" if pays else "fewer, larger layers",
        apply={"batch": batch} if pays else None,
        layers=named(idle),
        figures={"layers": len(idle), "share": lost / seen.ms, "around_ms": around, "batched": gain},
        claims=places(idle),
    )
