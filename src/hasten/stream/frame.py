"""A decoded frame: planes of YUV where the decoder holds them, a time in nanoseconds, and whether it can be trusted."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hasten.errors import InputError
from hasten.prepare import Prepare

if TYPE_CHECKING:
    from av import VideoFrame

NO_TIMESTAMP = -(2**63)
READ = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "nv12")  # names of pixel formats, as libav has them
_MATRIX: dict[int, Literal["bt601", "bt709"]] = {1: "bt709", 5: "bt601", 6: "bt601"}  # ITU-T H.273, MatrixCoefficients
_RANGE: dict[int, Literal["limited", "full"]] = {1: "limited", 2: "full"}  # AVColorRange


class Unread(InputError):  # noqa: N818 - an answer
    """A pixel format that is not read: the source would give it again, however often it is opened."""


@dataclass(frozen=True)
class Frame:
    """Planes are views of the decoder's memory, which lives as long as they do.

    Attributes:
        time: presentation time on the source's clock in nanoseconds; NO_TIMESTAMP where there is none.
        planes: uint8 [H, W] and, rounded up, [H / 2, W / 2] twice (I420) or [H / 2, W / 2, 2] (NV12).
        format: of the planes.
        matrix, range: as the stream says; None where it says nothing, and the pipeline's hold.
        trusted: neither damaged nor dependent on a damaged one.
        arrived: when its packet was read, in seconds of the monotonic clock.
    """

    time: int
    planes: tuple[np.ndarray, ...]
    format: Literal["I420", "NV12"]
    matrix: Literal["bt601", "bt709"] | None = None
    range: Literal["limited", "full"] | None = None
    trusted: bool = True
    arrived: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.planes[0].shape
        return height, width

    def how(self, pipeline: Prepare) -> Prepare:
        """The pipeline's preparation of this frame: from its own format, by what the stream says of its colours."""
        return replace(
            pipeline,
            source=self.format,
            matrix=self.matrix or pipeline.matrix,
            range=self.range or pipeline.range,
        )

    def array(self) -> np.ndarray:
        """A copy as a raw image of the pipeline, uint8 [H * 3 / 2, W] in the frame's own format.

        Raises:
            InputError: odd sides, which such an array cannot hold.
        """
        height, width = self.size
        if height % 2 or width % 2:
            raise InputError(f"a frame of {width}x{height} does not fit into one array", "crop or pad the video")
        return np.concatenate([p.reshape(-1) for p in self.planes]).reshape(height // 2 * 3, width)


def nanoseconds(pts: int | None, numerator: int, denominator: int) -> int:
    """A timestamp in units of numerator / denominator seconds, to the nearest nanosecond."""
    return NO_TIMESTAMP if pts is None else (2 * pts * numerator * 10**9 + denominator) // (2 * denominator)


def frame_of(picture: "VideoFrame", trusted: bool = True, arrived: float = 0.0) -> Frame:
    """A decoder's frame; nothing is copied.

    Of 4:2:2 every second row of chroma is taken.

    Raises:
        Unread: a pixel format that is not read.
    """
    name = picture.format.name
    if name not in READ:
        raise Unread(
            f"the source gives frames of {name}",
            f"hasten reads {', '.join(READ)}: let the source or its encoder give one",
        )
    base = picture.time_base
    whole: Any = picture.planes
    luma, *chroma = (np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in whole)
    height, width = picture.height, picture.width
    rows, columns = (height + 1) // 2, (width + 1) // 2
    if name == "nv12":
        planes: tuple[np.ndarray, ...] = (
            luma[:height, :width],
            chroma[0][:rows, : 2 * columns].reshape(rows, columns, 2),
        )
    else:
        step = 2 if name in ("yuv422p", "yuvj422p") else 1
        planes = (luma[:height, :width], *(c[::step][:rows, :columns] for c in chroma))
    return Frame(
        nanoseconds(picture.pts, base.numerator, base.denominator) if base else NO_TIMESTAMP,
        planes,
        "NV12" if name == "nv12" else "I420",
        _MATRIX.get(int(picture.colorspace)),
        "full" if name.startswith("yuvj") else _RANGE.get(int(picture.color_range)),
        trusted,
        arrived,
    )
