"""The newest frame of each source as a small JPEG. It is encoded when somebody asks, in the thread of who asks."""

import io
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from hasten.prepare import Prepare
from hasten.stream.frame import Frame

WIDEST = 480  # pixels of a picture
EVERY_S = 0.1  # at most ten a second of a source, however many ask
_QUALITY = 75  # of JPEG
_SHOWN = Prepare("image", source="I420", colour="RGB", layout="NHWC", dtype="uint8")


@dataclass(frozen=True)
class Picture:
    """JPEG, and the number of its frame among those of its source."""

    number: int
    jpeg: bytes


@dataclass
class _Source:
    lock: threading.Lock = field(default_factory=threading.Lock)
    newest: tuple[int, Frame] | None = None
    made: Picture | None = None
    made_at: float = 0.0
    preparer: tuple[Any, Any] = (None, None)  # what it is for, and itself


class Pictures:
    """Frames come from the thread of the watch, which waits for nothing here; one frame a source is held."""

    def __init__(self, sources: int) -> None:
        self._sources = [_Source() for _ in range(sources)]

    def __len__(self) -> int:
        return len(self._sources)

    def seen(self, source: int, frame: Frame) -> None:
        """As hasten.stream.watch.Watch calls it."""
        one = self._sources[source]
        one.newest = ((one.newest[0] if one.newest else 0) + 1, frame)

    def newer(self, source: int, than: int) -> Picture | None:
        """The newest picture, or one of the last tenth of a second; None: it has been seen, or there is none."""
        one = self._sources[source]
        with one.lock:
            newest, now = one.newest, time.monotonic()
            if newest and (one.made is None or (newest[0] > one.made.number and now - one.made_at >= EVERY_S)):
                one.made, one.made_at = Picture(newest[0], _jpeg(one, newest[1])), now
            made = one.made
        return made if made and made.number > than else None


def _jpeg(one: _Source, frame: Frame) -> bytes:
    from PIL import Image

    height, width = frame.size
    share = min(1.0, WIDEST / width)
    size = (max(1, round(height * share)), max(1, round(width * share)))
    how = replace(frame.how(_SHOWN), size=size)
    if one.preparer[0] != (how, height, width):
        one.preparer = ((how, height, width), how.preparer(height, width))
    pixels = one.preparer[1].run(*frame.planes)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
