"""From a container to frames: every frame says whether it can be trusted."""

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hasten.errors import InputError, MissingError
from hasten.stream.frame import Frame, frame_of

if TYPE_CHECKING:
    import av.container

_MOST_WAITING = 512  # packets of which the arrival is remembered
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}  # what is damaged is said, not painted over


class Decoder:
    """Frames of one container, in the order in which they are shown.

    A frame is not trusted if the decoder flags it, and from a packet that cannot be decoded, or is flagged by the
    container, on until a key frame that was read later: what is in between is predicted from something damaged.
    """

    def __init__(self, container: "av.container.InputContainer") -> None:
        """
        Raises:
            InputError: it has no video.
        """
        stream = container.streams.best("video")
        if stream is None:
            raise InputError("the source has no video", "give one that has")
        self._container, self._stream = container, stream
        context: Any = stream.codec_context
        context.thread_count = 1  # a frame is out as soon as it is complete, and sources share the cores as threads
        context.options = {**context.options, **_STRICT}
        self._damaged: float | None = None  # when the last damaged packet was read; None: none since the last key frame
        self._arrivals: dict[int, float] = {}

    def frames(self, quiet_s: float = math.inf, blind_s: float = math.inf) -> Iterator[Frame]:
        """
        Args:
            quiet_s: seconds without a packet of the video after which it is given up, though other packets come.
            blind_s: the same, without a frame. The next key frame may be some way off.

        Raises:
            TimeoutError: it is given up.
            av.FFmpegError: the container cannot be read on.
            Unread: a pixel format that is not read.
        """
        from av.error import EOFError as Ended

        came = framed = time.monotonic()
        for packet in self._container.demux():  # of all streams: one that has only sound left is seen to have no video
            arrived = time.monotonic()
            if packet.stream.index == self._stream.index:
                came = arrived
                try:
                    for frame in self._decoded(packet, arrived):
                        yield frame
                        framed = time.monotonic()
                except Ended:
                    return
            if arrived - came > quiet_s:
                raise TimeoutError(f"it gave no video for {quiet_s:g} s")
            if arrived - framed > blind_s:
                raise TimeoutError(f"its video gave no frame for {blind_s:g} s")

    def _decoded(self, packet: Any, arrived: float) -> Iterator[Frame]:
        from av.error import EOFError as Ended
        from av.error import FFmpegError

        if packet.pts is not None:
            self._remember(packet.pts, arrived)
        if packet.is_corrupt:
            self._damaged = arrived
        try:
            pictures: list[Any] = packet.decode()
        except Ended:
            raise
        except FFmpegError:
            self._damaged = arrived
            return
        for picture in pictures:
            came = self._arrivals.pop(picture.pts, arrived)
            yield frame_of(picture, self._trusted(picture, came), came)

    def _remember(self, pts: int, arrived: float) -> None:
        self._arrivals[pts] = arrived
        while len(self._arrivals) > _MOST_WAITING:
            del self._arrivals[next(iter(self._arrivals))]

    def _trusted(self, picture: Any, came: float) -> bool:
        if picture.is_corrupt:
            self._damaged = max(came, self._damaged or 0.0)
        elif self._damaged is not None and picture.key_frame and came > self._damaged:
            self._damaged = None
        return self._damaged is None


def opened(place: Any, *, format_name: str | None = None, options: dict[str, str] | None = None,
           open_s: float | None = None, read_s: float | None = None) -> "av.container.InputContainer":  # fmt: skip
    """A container that libav opens.

    Args:
        place: a path or URL, or an object with `read`.
        open_s, read_s: seconds after which opening, or a read, is given up; of what libav reads itself.

    Raises:
        InputError: it cannot be opened, in libav's words.
        MissingError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as fault:
        raise MissingError("PyAV is not installed, and video is read by it", "pip install 'hasten[video]'") from fault
    av.logging.set_level(av.logging.PANIC)  # what it says of damaged frames is told by the frames
    name = getattr(place, "name", place)
    try:
        container: av.container.InputContainer = av.open(
            place, format=format_name, options=options or {}, timeout=(open_s, read_s)
        )
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise InputError(f"{name} cannot be opened ({said(fault)})", "give a video that libav can open") from fault
    return container


def said(fault: BaseException) -> str:
    """What went wrong, in libav's words without its numbers."""
    return str(getattr(fault, "strerror", None) or fault or type(fault).__name__).splitlines()[0][:200]


def frames(path: str) -> Iterator[Frame]:
    """All frames of a file, as a training loader reads them; those that cannot be trusted say so.

    Raises:
        InputError: it cannot be opened, has no video, or cannot be read on.
    """
    import av

    with opened(path) as container:
        try:
            yield from Decoder(container).frames()
        except av.FFmpegError as fault:
            raise InputError(
                f"{path} cannot be read to its end ({said(fault)})", "give the file again, whole"
            ) from fault
