"""What the native pixels refuse, each with its sentence: settings that mean nothing, and images not as announced."""

from typing import Any

import numpy as np
import pytest

from hasten import _core

WRONG = [
    ({"siez": 3}, "there is no setting 'siez' of an image's preparation"),
    ({"source": "yuv"}, "source is yuv; it has to be one of rgb, bgr, grey, i420, nv12"),
    ({"size": (0, 4)}, "size is 4x0 pixels; each side has to be 1..65536"),
    ({"size": (4, 70000)}, "size is 70000x4 pixels; each side has to be 1..65536"),
    ({"size": (4,)}, "size is (4,); it has to be (height, width), in pixels"),
    ({"size": 4}, "size is 4; it has to be a sequence of numbers"),
    ({"size": (4, 2**40)}, "size has the value 1099511627776, which is not a number that fits"),
    ({"crop": (0, 0, 9, 8)}, "the crop of 8x9 pixels at left 0, top 0 is not within the image of 8x8"),
    ({"crop": (0, 2**31 - 1, 1, 1)}, "the crop of 1x1 pixels at left 2147483647, top 0 is not within the image of 8x8"),
    ({"crop": (-1, 0, 1, 1)}, "the crop of 1x1 pixels at left 0, top -1 is not within the image of 8x8"),
    ({"crop": (0, 0, 1, 0)}, "the crop of 0x1 pixels at left 0, top 0 is not within the image of 8x8"),
    ({"fill": 256}, "fill is 256; it has to be a grey level 0..255"),
    ({"mean": (1, 2)}, "mean has 2 values; give one, or one for each of the 3 channels"),
    ({"mean": (1, 2, 3), "colour": "grey"}, "mean has 3 values; give one, or one for each of the 1 channels"),
    ({"std": (0.0,)}, "std has the value 0.000000, which is not a finite number above 0"),
    ({"mean": (float("nan"),)}, "mean has the value nan, which is not a finite number"),
    ({"mean": (1.0,), "dtype": "uint8"}, "a uint8 tensor takes no mean and no std; leave them out, or make it float32"),
]


@pytest.mark.parametrize(("how", "sentence"), WRONG)
def test_what_means_nothing_is_refused(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        _core.Preparer(8, 8, **how)
    assert str(caught.value) == sentence


U8 = np.uint8
WRONG_IMAGES = [
    ("rgb", [np.zeros((8, 8, 3), np.float32)], "the image has to be a uint8 array"),
    ("rgb", [[[1, 2, 3]]], "the image has to be a uint8 array"),
    ("rgb", [np.zeros((8, 9, 3), U8)], "plane 0 has the shape [8, 9, 3], expected [8, 8, 3]"),
    ("rgb", [np.zeros((8, 8), U8)], "plane 0 has the shape [8, 8], expected [8, 8, 3]"),
    ("rgb", [], "an image of this format is one array [H, W, 3]"),
    ("grey", [np.zeros((8, 8), U8)] * 2, "an image of this format is one array [H, W]"),
    (
        "i420",
        [np.zeros((8, 8), U8)] * 2,
        "an image of this format is one array [H * 3 / 2, W], or the planes Y, U and V",
    ),
    ("i420", [np.zeros((8, 8), U8)] * 3, "plane 1 has the shape [8, 8], expected [4, 4]"),
    ("nv12", [np.zeros((8, 8), U8)] * 2, "plane 1 has the shape [8, 8], expected [4, 4, 2]"),
    (
        "rgb",
        [np.zeros((8, 8, 3), U8)[..., ::-1]],
        "the pixels of a row do not lie side by side; give numpy.ascontiguousarray(image)",
    ),
    (
        "rgb",
        [np.broadcast_to(np.zeros(24, U8).reshape(8, 3), (8, 8, 3))],
        "rows of plane 0 are 0 bytes apart, but hold 24",
    ),
    (
        "i420",
        [np.zeros((12, 9), U8)[:, :8]],
        "an I420 image in one array has to be without gaps; give numpy.ascontiguousarray(image), or its planes",
    ),
]


@pytest.mark.parametrize(("source", "image", "sentence"), WRONG_IMAGES)
def test_another_image_than_announced_is_refused(source: str, image: list[Any], sentence: str) -> None:
    preparer = _core.Preparer(8, 8, source=source)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        preparer.run(*image)
    assert str(caught.value) == sentence


def test_odd_yuv_in_one_array_is_refused() -> None:
    preparer = _core.Preparer(7, 8, source="i420")
    with pytest.raises(ValueError, match=r"^an image of 7x8 does not fit into one array; give its planes$"):
        preparer.run(np.zeros((12, 7), np.uint8))


@pytest.mark.parametrize("side", [0, -1, 65537])
def test_a_side_out_of_bounds_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"^the image is {side}x8 pixels; each side has to be 1..65536$"):
        _core.Preparer(side, 8)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((3, 8, 8), np.float64),
        np.zeros((3, 8, 7), np.float32),
        np.zeros((3, 8, 16), np.float32)[..., ::2],
        np.broadcast_to(np.float32(0), (3, 8, 8)),
        "out",
    ],
)
def test_an_unfit_out_is_refused(out: object) -> None:
    with pytest.raises(
        ValueError, match=r"^out has to be a writable float32 array without gaps, of shape \[3, 8, 8\]$"
    ):
        _core.Preparer(8, 8).run(np.zeros((8, 8, 3), np.uint8), out=out)
