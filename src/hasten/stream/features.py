"""From samples to scored windows: each frame is encoded once, and a ring keeps what windows are made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hasten.bundle import Bundle
from hasten.errors import InputError
from hasten.flow import run
from hasten.pipeline import Window
from hasten.prepare import native
from hasten.stream.frame import Frame
from hasten.stream.sampler import Sample

MOST_SIZES = 4  # of frames of a source, for which coefficients are kept


@dataclass(frozen=True)
class Scored:
    """A window that is full.

    Attributes:
        end: grid time of its last sample, ns.
        coverage: different frames in it over its length.
        segment: of the stream; windows of different segments have no time in common.
        outputs: of the bundle, [1, ...] each.
        arrived: when the last frame of it was read, in seconds of the monotonic clock.
    """

    end: int
    coverage: float
    segment: int
    outputs: Mapping[str, np.ndarray]
    arrived: float


@dataclass
class Counts:
    """What was done, and what was spared."""

    samples: int = 0
    encoded: int = 0  # runs of the frame stages
    same_bytes: int = 0  # other frames with the same prepared bytes
    windows: int = 0


def looked_at(bundle: Bundle) -> tuple[str, Window]:
    """The input that frames of a video go to, and the window.

    Raises:
        InputError: a bundle without a window, or one that takes something else; says why.
    """
    window, inputs = bundle.pipeline.window, bundle.signature.inputs
    if window is None:
        raise InputError(f"{bundle.folder} has no time window", "give the pipeline one: Window(seconds, fps, stride_s)")
    images = [name for name, how in bundle.pipeline.inputs.items() if how.kind == "image"]
    if len(images) != 1 or len(inputs) != 1:
        raise InputError(
            f"{bundle.folder} takes {', '.join(map(str, inputs))}", "what watches takes the frames of one video"
        )
    return images[0], window


def watched(bundle: Bundle) -> tuple[str, Window]:
    """As `looked_at`, of a bundle that answers with events.

    Raises:
        InputError: a bundle that cannot watch; says why.
    """
    found = looked_at(bundle)
    if bundle.pipeline.answer.kind != "events":
        raise InputError(
            f"{bundle.folder} answers with {bundle.pipeline.answer.kind}", "a bundle that watches answers with events"
        )
    return found


@dataclass
class Features:
    """One stream's ring. The engines are the bundle's, and serve one stream at a time."""

    bundle: Bundle
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._input, window = looked_at(self.bundle)
        core = native("video by timestamp")
        self._core: Any = core.Window(window.seconds, window.fps, window.stride_s, window.padding)
        self._how = self.bundle.pipeline.inputs[self._input]
        running = self.bundle.flow.running()
        self._each = [pair for pair in running if pair[0].when == "frame"]
        self._whole = [pair for pair in running if pair[0].when != "frame"]
        read = {t.name for stage, _ in self._whole for t in stage.signature.inputs} | {
            t.name for t in self.bundle.signature.outputs
        }
        given = {self._input, *(t.name for stage, _ in self._each for t in stage.signature.outputs)}
        self._kept = sorted(read & given)
        self._preparers: dict[Any, Any] = {}
        self._ring: dict[str, np.ndarray] = {}
        self._last: tuple[Frame | None, np.ndarray | None, dict[str, np.ndarray]] = (None, None, {})

    def push(self, sample: Sample) -> Iterator[Scored]:
        """The window that is full with this sample, if one is.

        Raises:
            InputError: frames that the pipeline cannot prepare, or an engine that fails on them.
        """
        self.counts.samples += 1
        features = self._of(sample.frame)
        slots, _, ends, coverages, orders = self._core.push(sample.row[None])
        for name, array in features.items():
            if name not in self._ring:
                self._ring[name] = np.empty((self._core.length, *array.shape), array.dtype)
            if self._ring[name].shape[1:] != array.shape:
                was, is_now = (list(a) for a in (self._ring[name].shape[1:], array.shape))
                raise InputError(
                    f"{name!r} was {was} and is {is_now}: the source has changed its size",
                    "give the pipeline a size, to which frames are resized",
                )
            self._ring[name][slots[0]] = array
        for end, coverage, order in zip(ends, coverages, orders, strict=True):
            self.counts.windows += 1
            tensors = {name: ring[order][None] for name, ring in self._ring.items()}
            for stage, session in self._whole:
                tensors |= run(stage, session, tensors)
            outputs = {t.name: tensors[t.name] for t in self.bundle.signature.outputs}
            yield Scored(int(end), float(coverage), int(sample.row[3]), outputs, sample.frame.arrived)

    def _of(self, frame: Frame) -> dict[str, np.ndarray]:
        """What the ring keeps of a frame; what was computed last stands for the same frame, and for the same bytes."""
        last, bytes_before, features = self._last
        if frame is last:
            return features
        prepared = self._prepared(frame)
        if bytes_before is not None and np.array_equal(prepared.view(np.uint8), bytes_before.view(np.uint8)):
            self.counts.same_bytes += 1
            self._last = (frame, bytes_before, features)
            return features
        tensors: dict[str, np.ndarray] = {self._input: prepared[None, None]}
        for stage, session in self._each:
            tensors |= run(stage, session, tensors)
        self.counts.encoded += 1
        features = {name: tensors[name][0, 0] for name in self._kept}
        self._last = (frame, prepared, features)
        return features

    def _prepared(self, frame: Frame) -> np.ndarray:
        how, (height, width) = frame.how(self._how), frame.size
        key = (how, height, width)
        if key not in self._preparers:
            while len(self._preparers) >= MOST_SIZES:
                del self._preparers[next(iter(self._preparers))]
            self._preparers[key] = how.preparer(height, width)
        return np.asarray(self._preparers[key].run(*frame.planes))
