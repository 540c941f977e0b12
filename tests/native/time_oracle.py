"""spec/time.md once more, in plain Python: what the native code is held against, exactly.

Unlike it, this looks at the whole stream at once, in fractions of any size.
"""

import math
from fractions import Fraction
from itertools import pairwise

LATEST = 2**62 - 1

Row = tuple[int, int, int, int]  # time, frame, index, segment
Shown = tuple[int, int]  # time, frame


def nearest(a: Fraction) -> int:
    return math.floor(a + Fraction(1, 2))


def segments(timestamps: list[int], max_gap: int, wrap: int | None) -> tuple[list[list[Shown]], int]:
    """The frames that are taken, and how many are not."""
    found: list[list[Shown]] = []
    dropped = raw = 0
    for frame, timestamp in enumerate(timestamps):
        if abs(timestamp) > LATEST:
            dropped += 1
            continue
        if not found:
            found.append([(timestamp, frame)])
        else:
            step = timestamp - raw
            if wrap is not None:
                step %= wrap
                step -= wrap if 2 * step > wrap else 0
            if -max_gap <= step <= 0:
                dropped += 1
                continue
            time = found[-1][-1][0] + step
            if abs(time) > LATEST:
                found.append([(timestamp, frame)])
            elif abs(step) > max_gap:
                found.append([(time, frame)])
            else:
                found[-1].append((time, frame))
        raw = timestamp
    return found, dropped


def on_grid(frames: list[Shown], fps: float, phase: int) -> list[tuple[int, int]]:
    """The points of one segment, and the frame of each."""
    period = math.floor(Fraction(10**9) / Fraction(fps))
    times = [time for time, _ in frames]
    steps = [0, *(b - a for a, b in pairwise(times))]
    reach = [time + min(step, period) // 2 for time, step in zip(times, steps, strict=True)]
    points: list[tuple[int, int]] = []
    for i in range(len(frames)):
        while (point := times[0] + phase + nearest(len(points) * 10**9 / Fraction(fps))) <= reach[i]:
            last = max(i - 1, 0)
            nearer = last if point - times[last] <= times[i] - point else i
            points.append((point, frames[nearer][1]))
    return points


def samples(timestamps: list[int], fps: float, phase: int, max_gap: int, wrap: int | None) -> tuple[list[Row], int]:
    """All samples of a stream, and the number of frames dropped."""
    found, dropped = segments(timestamps, max_gap, wrap)
    rows = [
        (time, frame, index, number)
        for number, segment in enumerate(found)
        for index, (time, frame) in enumerate(on_grid(segment, fps, phase))
    ]
    return rows, dropped


def windows(rows: list[Row], length: int, stride: int, repeat: bool) -> list[tuple[int, int, float, list[int]]]:
    """Of each full window: the place of its last sample among the rows, its end, its coverage, its samples' places."""
    found = []
    for at, (end, _, index, _) in enumerate(rows):
        if index % stride == (length - 1) % stride and (repeat or index >= length - 1):
            places = [at - min(back, index) for back in reversed(range(length))]
            found.append((at, end, len({rows[place][1] for place in places}) / length, places))
    return found


def events(steps: list[tuple[int, float]], on: float, off: float, refractory: int) -> list[tuple[int, int, float, int]]:
    """Begin, end, peak, time of the peak, of one stretch and a flush after it."""
    found: list[tuple[int, int, float, int]] = []
    i = 0
    while i < len(steps):
        time, score = steps[i]
        if score >= on and (not found or time - found[-1][1] >= refractory):
            end = i
            while end < len(steps) and steps[end][1] >= off:
                end += 1
            part = steps[i:end]
            peak = max(s for _, s in part)
            found.append((time, part[-1][0], peak, next(t for t, s in part if s == peak)))
            i = end
        else:
            i += 1
    return found
