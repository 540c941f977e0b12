"""Videos as samples: a window of one is a sample where the pipeline has a window, otherwise every frame is."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hasten.bundle import Bundle
from hasten.errors import InputError, MissingError
from hasten.prepare import native
from hasten.stream.decode import frames
from hasten.stream.features import Features, looked_at
from hasten.stream.frame import NO_TIMESTAMP, Frame
from hasten.stream.sampler import Sampler

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".ts", ".m4v", ".y4m")

Tell = Callable[[str], None]


def is_video(path: str) -> bool:
    """By its name."""
    return Path(path).suffix.lower() in SUFFIXES


def require() -> None:
    """
    Raises:
        MissingError: PyAV or the native code is not installed.
    """
    native("video")
    try:
        import av  # noqa: F401
    except ImportError as fault:
        raise MissingError("PyAV is not installed, and video is read by it", "pip install 'hasten[video]'") from fault


def windows(bundle: Bundle, path: str, tell: Tell) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
    """Every full window of a video, as `hasten watch` has it: the time of its end in ns, and its outputs [1, ...].

    Args:
        tell: is given in a sentence what has no answer, and why; what is damaged costs the windows that reach over it.
    """
    _, window = looked_at(bundle)
    sampler, features = Sampler(window), Features(bundle)
    try:
        for frame in _trusted(path, tell):
            for sample in sampler.push(frame):
                for scored in features.push(sample):
                    yield scored.end, scored.outputs
    except InputError as fault:
        tell(str(fault))
    if sampler.dropped:
        tell(f"{sampler.dropped} frames have no time, or one that is not later than the last")


def pictures(bundle: Bundle, path: str, tell: Tell) -> Iterator[tuple[int, np.ndarray]]:
    """Every frame of a video: its time in ns, and the prepared tensor without the batch.

    Args:
        tell: as of `windows`.
    """
    ((_, how),) = ((n, h) for n, h in bundle.pipeline.inputs.items() if h.kind == "image")
    last, dropped = NO_TIMESTAMP, 0
    preparers: dict[Any, Any] = {}
    for frame in _trusted(path, tell):
        if frame.time == NO_TIMESTAMP or frame.time <= last:
            dropped += 1
            continue
        last, key = frame.time, (frame.how(how), frame.size)
        try:
            if key not in preparers:
                preparers = {key: key[0].preparer(*frame.size)}
        except InputError as fault:
            tell(str(fault))
            return
        yield frame.time, np.array(preparers[key].run(*frame.planes))
    if dropped:
        tell(f"{dropped} frames have no time, or one that is not later than the last")


def _trusted(path: str, tell: Tell) -> Iterator[Frame]:
    """The frames that are whole; where others were, and where the video breaks off, is told."""
    last, untrusted, count = NO_TIMESTAMP, 0, 0
    broken = False
    try:
        for frame in frames(path):
            if not frame.trusted:
                untrusted += 1
                continue
            if untrusted:
                tell(_damage(untrusted, last, frame.time))
            last, untrusted, count = frame.time, 0, count + 1
            yield frame
    except InputError as fault:
        broken = True
        tell(str(fault))
    if untrusted:
        tell(_damage(untrusted, last, None))
    elif not count and not broken:
        tell("it has no frame")


def _damage(count: int, since: int, until: int | None) -> str:
    begin = "the begin" if since == NO_TIMESTAMP else f"{since / 1e9:.3f} s"
    end = "the end" if until is None else f"{until / 1e9:.3f} s"
    return f"{count} frames between {begin} and {end} are damaged, or depend on what is"
