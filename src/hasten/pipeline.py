"""The pipeline: raw input -> tensor, time window, and tensor -> answer, as plain data that the bundle carries."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

from hasten.answer import Answer
from hasten.errors import InputError
from hasten.model import Arrays, Signature
from hasten.prepare import Prepare, native

MOST_FRAMES = 1_000_000  # of a window


@dataclass(frozen=True)
class Window:
    """The stretch of time that one answer looks at."""

    seconds: float
    fps: float  # samples per second of video, taken by timestamp
    stride_s: float  # from one answer to the next
    max_gap_s: float = 0.5  # a longer gap withholds the window
    padding: Literal["wait", "repeat"] = "wait"  # before the first full window: no answer, or the first frame repeated

    @property
    def length(self) -> int:
        """Frames in a window."""
        return math.floor(self.seconds * self.fps + 0.5)

    def among(self, other: "Window") -> list[int]:
        """Which frames of a window of `other` this one has: counted from the newest, the nearest in time."""
        last = other.length - 1
        back = (round(k * other.fps / self.fps) for k in range(self.length))
        return [max(0, last - k) for k in back][::-1]

    def check(self, signature: Signature) -> None:
        """See that some input has as many frames.

        Raises:
            InputError: none has, or there are too few or too many of them.
        """
        if not 1 <= self.length <= MOST_FRAMES:
            raise InputError(f"the window has {self.length} frames", f"it has from 1 to {MOST_FRAMES}")
        if not any(isinstance(n, str) or n == self.length for t in signature.inputs for n in t.shape[1:2]):
            raise InputError(
                f"the window has {self.length} frames, and the inputs are {', '.join(map(str, signature.inputs))}",
                "an input with a time axis is [N, frames, ...]",
            )


@dataclass(frozen=True)
class Pipeline:
    """What happens around the network, in training and in deployment alike."""

    inputs: Mapping[str, Prepare] = field(default_factory=dict)  # by name; one not named is an array
    window: Window | None = None
    answer: Answer = field(default_factory=Answer)

    def require(self) -> None:
        """See that this installation can honour every part.

        Raises:
            MissingError: a part needs native code that this installation lacks.
        """
        for name, how in self.inputs.items():
            if how.kind == "image":
                native(f"the image {name!r}")
        self.answer.require()

    def check(self, signature: Signature) -> None:
        """See that the pipeline speaks of this network's inputs, outputs and classes.

        Raises:
            InputError: it names an input that is not there or takes no images, or as Answer.check.
        """
        inputs = {t.name: t for t in signature.inputs}
        for name, how in sorted(self.inputs.items()):
            if name not in inputs:
                raise InputError(f"the pipeline prepares {name!r}", f"the network's inputs are {list(inputs)}")
            axes = 5 if self.window else 4
            if how.kind == "image" and len(inputs[name].shape) != axes:
                raise InputError(
                    f"the pipeline prepares images, and the input is {inputs[name]}",
                    "images are [N, C, H, W], with a time window [N, frames, C, H, W]",
                )
        if self.window:
            self.window.check(signature)
        self.answer.check(signature)

    def prepared(self, raw: Arrays) -> Arrays:
        """Raw inputs by name, [N, ...] each -> the tensors that the network takes.

        With a time window an image input is [N, frames, ...], the frames of a window in order of time.

        Raises:
            MissingError: as `require`.
            InputError: raw images that are not what the pipeline says.
        """
        self.require()
        return {name: self._one(name, array) for name, array in raw.items()}

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """One raw image, as a training loader reads it, -> the tensor of the only image among the inputs.

        Args:
            image: uint8 [H, W, 3], [H, W], or [H * 3 / 2, W]; see Prepare. With a time window [frames, ...] of these.

        Returns:
            [C, H, W] or [H, W, C], without the batch; with a time window [frames, ...] of these.

        Raises:
            InputError: the pipeline has no image, or several; or as `prepared`.
        """
        names = [name for name, how in self.inputs.items() if how.kind == "image"]
        if len(names) != 1:
            raise InputError(f"the pipeline prepares {len(names)} images", "use prepared({name: images, ...})")
        return np.asarray(self.prepared({names[0]: image[None]})[names[0]][0])

    def _one(self, name: str, array: np.ndarray) -> np.ndarray:
        how = self.inputs.get(name)
        if how is None or how.kind == "array":
            return array
        if self.window is None:
            return how(array)
        if array.ndim < 2 or array.shape[1] != self.window.length:
            raise InputError(
                f"raw frames are {array.dtype.name} {list(array.shape)}",
                f"the window has {self.window.length} frames: [N, {self.window.length}, ...]",
            )
        if not len(array):
            return how(array[:, 0])[:, None]
        return np.stack([how(window) for window in array])  # one by one: windows may overlap in memory

    def decide(self, outputs: Arrays) -> list[Any]:
        """Decisions, one a sample; see Answer.decide."""
        self.require()
        return self.answer.decide(outputs)

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": {name: asdict(p) for name, p in self.inputs.items()},
            "window": asdict(self.window) if self.window else None,
            "answer": asdict(self.answer),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The pipeline of a bundle that has passed the schema."""
        return cls(
            {name: _made(Prepare, p) for name, p in data["inputs"].items()},
            _made(Window, data["window"]) if data["window"] else None,
            _made(Answer, data["answer"]),
        )


def _made(kind: type, data: Mapping[str, Any]) -> Any:
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})
