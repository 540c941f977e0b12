"""Clips in which a ball crosses a line or does not: 640x360, H.264, with the true times of the crossings.

    python examples/shapes/clips.py out/clips --count 20 --seed 1000        NNNN.mp4, and NNNN.json beside it

A clip is made of its seed alone. The ball wanders from side to side of the line, or turns back before it; a box of
another colour does the same and means nothing. What the source does to time is one of KINDS, in turn.
"""

import argparse
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 60, 6.0
KINDS = ("steady", "variable", "dropped", "doubled")  # 60 FPS; 8 to 40 ms apart; with holes; 30 FPS, each frame twice
QUIET_S = 1.0  # at the beginning, and half as long at the end: no crossing
TICKS = 60_000  # of the timestamps, a second
RADIUS = 18  # of the ball, pixels
BALL, BOX, LINE = (150, 70, 180), (110, 170, 100), (225, 128, 128)  # Y, U, V


@dataclass(frozen=True)
class Clip:
    """What is to be seen, and when.

    Attributes:
        ticks: timestamps of the frames, rising; TICKS a second.
        moments: the time that each frame shows, seconds; not its timestamp where frames are doubled.
        ball, box: centres at those moments, pixels f64 [frames, 2] of x, y.
        line: x of the line, pixels.
        crossings: when the ball's centre passes the line, seconds.
    """

    seed: int
    kind: str
    ticks: np.ndarray
    moments: np.ndarray
    ball: np.ndarray
    box: np.ndarray
    line: int
    crossings: tuple[float, ...]


def clip(seed: int) -> Clip:
    """The clip of a seed."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    ticks = _ticks(kind, rng)
    shown = ticks / TICKS
    moments = np.floor(shown * 30 + 1e-6) / 30 if kind == "doubled" else shown
    line = int(rng.integers(200, 441))
    ball, box = _path(rng, line), _path(rng, line)
    fine = np.arange(0, SECONDS, 0.001)
    sides = np.interp(fine, *ball[:2]) > line
    crossings = tuple(round(float(fine[i + 1]), 3) for i in np.flatnonzero(sides[1:] != sides[:-1]))
    return Clip(seed, kind, ticks, moments, _at(moments, ball), _at(moments, box), line, crossings)


def _ticks(kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "variable":
        steps = rng.integers(TICKS * 8 // 1000, TICKS * 40 // 1000, int(SECONDS * FPS * 2))
        ticks = np.concatenate([[0], np.cumsum(steps)])
        return ticks[ticks < SECONDS * TICKS]
    ticks = np.arange(int(SECONDS * FPS)) * (TICKS // FPS)
    if kind != "dropped":
        return ticks
    kept = rng.random(len(ticks)) > 0.1
    for hole in rng.integers(30, len(ticks) - 30, 3):  # up to 150 ms
        kept[hole : hole + int(rng.integers(4, 10))] = False
    kept[0] = True
    return ticks[kept]


def _path(rng: np.random.Generator, line: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments, x and y of a walk between resting places; some of its ways cross the line."""
    time, side = 0.0, bool(rng.integers(2))
    at: list[tuple[float, float, float]] = []
    while time < SECONDS + 2:  # it crosses only where a window can see it, and what comes of it is within the clip
        far = rng.uniform(45, 150)
        x = np.clip(line + (far if side else -far), 25, WIDTH - 25)
        y = rng.uniform(60, HEIGHT - 60)
        at.append((time, float(x), float(y)))
        began, time = time, time + float(rng.uniform(0.6, 1.5))
        side = side != bool(rng.random() < 0.6 and began >= QUIET_S and time < SECONDS - QUIET_S / 2)
    knots = np.array(at).T
    fine = np.arange(0, SECONDS + 1, 0.001)
    place = np.clip(np.searchsorted(knots[0], fine, "right") - 1, 0, len(at) - 2)
    part = (fine - knots[0][place]) / (knots[0][place + 1] - knots[0][place])
    eased = part * part * (3 - 2 * part)
    x, y = (k[place] + eased * (k[place + 1] - k[place]) for k in knots[1:])
    return fine, x, y


def _at(moments: np.ndarray, path: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    return np.stack([np.interp(moments, path[0], axis) for axis in path[1:]], axis=1)


def planes(made: Clip, frame: int, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame as I420 planes; `ground` is `_ground` of the clip."""
    luma = ground.copy()
    chroma = np.full((2, HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    luma[:, made.line - 2 : made.line + 2] = LINE[0]
    x, y = made.box[frame].round().astype(int)
    top, left = y - RADIUS, x - RADIUS
    luma[top : top + 2 * RADIUS, left : left + 2 * RADIUS] = BOX[0]
    chroma[:, top // 2 : top // 2 + RADIUS, left // 2 : left // 2 + RADIUS] = np.array(BOX[1:])[:, None, None]
    _disc(luma, made.ball[frame], RADIUS, BALL[0])
    for plane, value in zip(chroma, BALL[1:], strict=True):
        _disc(plane, made.ball[frame] / 2, RADIUS / 2, value)
    return luma, chroma[0], chroma[1]


def _disc(plane: np.ndarray, centre: np.ndarray, radius: float, value: int) -> None:
    x, y = centre
    left, top = max(0, int(x - radius) - 1), max(0, int(y - radius) - 1)
    part = plane[top : int(y + radius) + 2, left : int(x + radius) + 2]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    part[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = value


def _ground(made: Clip) -> np.ndarray:
    """Luma of the background: a slope with soft spots."""
    rng = np.random.default_rng(made.seed + 10**6)
    coarse = rng.integers(40, 120, (HEIGHT // 40, WIDTH // 40)).astype(np.float64)
    return np.kron(coarse, np.ones((40, 40))).astype(np.uint8)


def write(made: Clip, path: Path, format_name: str | None = None) -> None:
    """Encode a clip, and its truth beside it as JSON."""
    import av

    ground = _ground(made)
    with av.open(str(path), "w", format=format_name) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", FPS
        stream.thread_count = 1  # the same bytes on every machine
        stream.options = {"preset": "veryfast", "crf": "24"}
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for i, tick in enumerate(made.ticks):
            picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, pixels in zip(picture.planes, planes(made, i, ground), strict=True):
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                rows[:, : pixels.shape[1]] = pixels
            picture.pts, picture.time_base = int(tick), Fraction(1, TICKS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    truth = {"seed": made.seed, "kind": made.kind, "line": made.line, "crossings_s": list(made.crossings)}
    path.with_suffix(".json").write_text(json.dumps(truth) + "\n")


def folder(place: Path, seeds: range) -> list[Path]:
    """Clips of these seeds in a folder; those that are there already are kept."""
    place.mkdir(parents=True, exist_ok=True)
    paths = [place / f"{seed:05d}.mp4" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        if not path.with_suffix(".json").exists():
            write(clip(seed), path)
    return paths


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("place", type=Path)
    ask.add_argument("--count", type=int, default=8)
    ask.add_argument("--seed", type=int, default=1000)
    args = ask.parse_args()
    for path in folder(args.place, range(args.seed, args.seed + args.count)):
        print(path, path.with_suffix(".json").read_text().strip())


if __name__ == "__main__":
    main()
