"""threads: another number of threads is faster, since a small layer cannot feed many and a large one can.

Decided by a race of the same file with the candidates; the interval has to lie above 1.
"""

from collections.abc import Iterator

from hasten.diagnose.slow import Evidence, Finding, with_settings
from hasten.measure import machine
from hasten.measure.threads import candidates

LEAST = 1.02  # times as fast


def look(seen: Evidence) -> Iterator[Finding]:
    mine = seen.engine.threads or machine.threads()
    numbers = [n for n in candidates(machine.threads()) if n != mine]
    if not numbers:
        return
    path = seen.model.path
    assert path
    race = seen.times([(path, with_settings(seen.engine, threads=n)) for n in (mine, *numbers)])
    place = min(range(1, len(numbers) + 1), key=lambda i: race.latency(i).p50_ms)
    gain, best = race.speedup(place, over=0), numbers[place - 1]
    if gain.low <= LEAST:
        return
    now, then = race.latency(0).p50_ms, race.latency(place).p50_ms
    said = f"{best} thread{'s' if best > 1 else ''}"
    yield Finding(
        reason="threads",
        what=f"with {said} instead of {mine} it takes {then:.3g} ms instead of {now:.3g}",
        ms=max(0.0, now - then),
        remedy=f"run it with {said}",
        apply={"engine": str(with_settings(seen.engine, threads=best))},
        figures={"threads": mine, "better": best, "speedup": gain.value, "low": gain.low, "high": gain.high},
    )
