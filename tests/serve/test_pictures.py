"""The newest picture of a source: its colours, its size, how often, and that no other frame is held."""

import gc
import io
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hasten.serve.pictures import EVERY_S, WIDEST, Pictures
from hasten.stream.frame import Frame


def frame(height: int, width: int, y: int = 128, u: int = 128, v: int = 128) -> Frame:
    rows, columns = (height + 1) // 2, (width + 1) // 2
    planes = (np.full((height, width), y, np.uint8), *(np.full((rows, columns), c, np.uint8) for c in (u, v)))
    return Frame(0, planes, "I420")


def shown(pictures: Pictures) -> np.ndarray:
    found = pictures.newer(0, 0)
    assert found
    return np.asarray(Image.open(io.BytesIO(found.jpeg)).convert("RGB")).astype(int)


# Y, Cb, Cr of pure red, by ITU-T H.273
@pytest.mark.parametrize(
    ("matrix", "span", "colour"),
    [
        ("bt601", "limited", (81, 90, 240)), ("bt709", "limited", (63, 102, 240)), ("bt601", "full", (76, 85, 255)),
        (None, None, (81, 90, 240)),
    ],
)  # fmt: skip
def test_red_is_red(matrix: str | None, span: str | None, colour: tuple[int, int, int]) -> None:
    pictures = Pictures(1)
    pictures.seen(0, replace(frame(48, 64, *colour), matrix=matrix, range=span))
    assert np.abs(shown(pictures) - (255, 0, 0)).max() <= 4


def test_nv12_too() -> None:
    luma, chroma = np.full((48, 64), 81, np.uint8), np.full((24, 32, 2), (90, 240), np.uint8)
    pictures = Pictures(1)
    pictures.seen(0, Frame(0, (luma, chroma), "NV12"))
    assert np.abs(shown(pictures) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (360, 640), (48, 64), (33, 999), (1, 3001)])
def test_it_is_small_and_has_its_shape(height: int, width: int) -> None:
    pictures = Pictures(1)
    pictures.seen(0, frame(height, width))
    got_height, got_width, _ = shown(pictures).shape
    assert got_width == min(width, WIDEST)
    assert got_height == max(1, round(height * got_width / width))


def test_the_newest_is_shown_ten_times_a_second_at_most() -> None:
    pictures = Pictures(2)
    assert len(pictures) == 2
    assert pictures.newer(0, 0) is None
    for i in range(5):
        pictures.seen(0, frame(48, 64, 16 + i))
    first = pictures.newer(0, 0)
    assert first
    assert first.number == 5
    assert pictures.newer(0, 5) is None
    pictures.seen(0, frame(48, 64, 200))
    time.sleep(EVERY_S)
    second = pictures.newer(0, 5)
    assert second
    assert second.number == 6
    assert shown(pictures).mean() > 180
    assert pictures.newer(1, 0) is None


def test_made_pictures_are_shared_for_a_while() -> None:
    pictures = Pictures(1)
    pictures.seen(0, frame(48, 64))
    first = pictures.newer(0, 0)
    pictures.seen(0, frame(48, 64))
    began = time.monotonic()
    again = pictures.newer(0, 0)
    assert again is first or time.monotonic() - began > EVERY_S


def test_one_frame_is_held() -> None:
    pictures, frames = Pictures(1), [frame(48, 64) for _ in range(100)]
    refs = [weakref.ref(f) for f in frames]
    for one in frames:
        pictures.seen(0, one)
    del frames, one
    gc.collect()
    assert sum(ref() is not None for ref in refs) == 1
