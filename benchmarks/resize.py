"""Is our resize at most half of Pillow's time? One thread each, in turns, and the same bytes.

    python benchmarks/resize.py

Needs Pillow below 13, which resizes in the same order as spec/pixels.md. About half a minute.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from bar import bar
from contest import race, ratio
from hasten import _core
from hasten.measure.lock import quiet  # the machine's: nobody else measures meanwhile

WIDTH, HEIGHT, SIDE = 1280, 720, 224
TIMES = 2.0  # as fast as Pillow
RESIZE: dict[str, Any] = {"size": (SIDE, SIDE), "layout": "nhwc", "dtype": "uint8"}
NETWORK: dict[str, Any] = {"size": (SIDE, SIDE), "mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}


class Job:
    """A function without arguments, to be raced; `make` gives it new memory for each launch."""

    def __init__(self, name: str, make: Callable[[], Callable[[], object]]) -> None:
        self.name, self.make = name, make
        self.run = make()

    def start(self) -> None:
        self.run = self.make()

    def burst(self, calls: int) -> list[float]:
        """The time of each call in ms."""
        times = []
        for _ in range(calls):
            began = time.perf_counter()
            self.run()
            times.append((time.perf_counter() - began) * 1e3)
        return times


def picture() -> np.ndarray:
    """u8 [HEIGHT, WIDTH, 3]: smooth, with noise on it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.stack([np.sin(x / (9 + 5 * c)) + np.cos(y / (7 + 3 * c)) for c in range(3)], axis=-1)
    return np.clip(128 + 50 * waves + rng.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)


def pillow(kind: Image.Resampling) -> Callable[[], Callable[[], object]]:
    def make() -> Callable[[], object]:
        image = Image.fromarray(picture())
        return lambda: image.resize((SIDE, SIDE), kind)

    return make


def ours(how: dict[str, Any], vectorised: bool = True) -> Callable[[], Callable[[], object]]:
    def make() -> Callable[[], object]:
        _core.vectorised(vectorised)
        preparer = _core.Preparer(WIDTH, HEIGHT, **how)
        _core.vectorised(True)
        image = picture()
        planes = {
            "i420": [image[..., 0], image[::2, ::2, 1], image[::2, ::2, 2]],
            "nv12": [image[..., 0], image[::2, ::2, 1:]],
        }.get(how.get("source", "rgb"), [image])
        planes = [np.ascontiguousarray(plane) for plane in planes]
        return lambda: preparer.run(*planes)

    return make


JOBS = [
    Job("hasten, bilinear to uint8", ours(RESIZE)),
    Job("Pillow, bilinear", pillow(Image.Resampling.BILINEAR)),
    Job("hasten, bicubic to uint8", ours({**RESIZE, "filter": "bicubic"})),
    Job("Pillow, bicubic", pillow(Image.Resampling.BICUBIC)),
    Job("hasten scalar, bilinear to uint8", ours(RESIZE, vectorised=False)),
    Job("hasten, bilinear to normalised planes", ours(NETWORK)),
    Job("hasten, I420 to normalised planes", ours({**NETWORK, "source": "i420"})),
    Job("hasten, NV12 to normalised planes", ours({**NETWORK, "source": "nv12"})),
    Job("hasten, RGB to normalised grey", ours({"size": (SIDE, SIDE), "colour": "grey"})),
]


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    equal = np.array_equal(JOBS[0].run(), np.asarray(JOBS[1].run()))
    with quiet():
        medians = race(JOBS)
    for job, ms in zip(JOBS, np.median(medians, axis=(0, 1)), strict=True):
        print(f"{job.name:<40} {ms:7.3f} ms")
    print(f"bicubic: {ratio(medians, 2, 3)[0]:.2f} times as fast as Pillow")
    faster, low, high = ratio(medians, 0, 1)
    what = f"{WIDTH}x{HEIGHT} to {SIDE}x{SIDE} bilinear, times as fast as Pillow [{low:.2f}, {high:.2f}]"
    return 0 if all([bar(what, faster, f"{TIMES}", low >= TIMES), bar("equal bytes", equal, "True", equal)]) else 1


if __name__ == "__main__":
    sys.exit(main())
