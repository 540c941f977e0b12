"""Clips as windows: decoded, sampled and prepared by the code that a live stream goes through."""

import json
from pathlib import Path

import numpy as np
from clips import folder

from hasten import Answer, Pipeline, Prepare, Window
from hasten.files import cache_folder
from hasten.stream.decode import frames
from hasten.stream.sampler import Sampler

WINDOW = Window(seconds=1.0, fps=15.0, stride_s=1 / 15)
RECENT_S = (0.05, 0.5)  # how long ago a crossing is, at the end of the windows that are to tell of it
PIPELINE = Pipeline(
    {"frames": Prepare("image", source="I420", size=(54, 96), mean=(96.0,), std=(48.0,))},
    window=WINDOW,
    answer=Answer("events", activation="sigmoid", labels=("crossing",), on=0.6, off=0.4, refractory_s=0.1),
)
SEEDS = {"train": range(0, 96), "validate": range(400, 408), "test": range(500, 508)}  # of the clips


def paths(seeds: range) -> list[Path]:
    """The clips of these seeds, made when they are first asked for."""
    return folder(cache_folder() / "shapes", seeds)


def crossings(path: Path) -> np.ndarray:
    """True times of a clip, seconds f64 [K]."""
    return np.array(json.loads(path.with_suffix(".json").read_text())["crossings_s"], np.float64)


def sampled(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A clip's samples on the grid: times in seconds f64 [T], timestamps of the frames in ns i64 [T], and the frames
    themselves, raw, uint8 [T, 540, 640] (I420)."""
    sampler = Sampler(WINDOW)
    samples = [s for frame in frames(str(path)) for s in sampler.push(frame)]
    times, shown = np.array([s.time / 1e9 for s in samples]), np.array([s.frame.time for s in samples])
    return times, shown, np.stack([s.frame.array() for s in samples])


def crossed(ends: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Whether a window that ends at each of `ends` [N] is to tell of one of the crossings `when` [K]: bool [N]."""
    ago = ends[:, None] - when
    return np.asarray(((ago > RECENT_S[0]) & (ago <= RECENT_S[1])).any(axis=1))
