"""dynamic: axes that are left free make an engine plan anew, or keep it from planning at all.

Decided by a race against the same file with its axes at the lengths in use; the interval has to lie above 1.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hasten.diagnose.remedy import fixed
from hasten.diagnose.slow import Evidence, Finding

LEAST = 1.02  # times as fast


def look(seen: Evidence) -> Iterator[Finding]:
    batch = seen.model.signature.batch
    axes = dict(seen.axes) | ({batch: 1} if batch else {})
    path = seen.model.path
    if not axes or path is None:
        return
    with TemporaryDirectory(prefix="hasten-") as scratch:
        still = fixed(seen.model, axes).save(Path(scratch) / "fixed.onnx").path
        assert still
        race = seen.times([(path, seen.engine), (still, seen.engine)])
    gain = race.speedup(1, over=0)
    if gain.low <= LEAST:
        return
    now, then = race.latency(0).p50_ms, race.latency(1).p50_ms
    said = ", ".join(f"{name}={length}" for name, length in axes.items())
    yield Finding(
        reason="dynamic",
        what=f"with its free axes fixed ({said}) it takes {then:.3g} ms instead of {now:.3g}",
        ms=max(0.0, now - then),
        remedy="export it with these lengths, one file for each that is in use",
        apply={"fix": axes},
        figures={"speedup": gain.value, "low": gain.low, "high": gain.high},
    )
