"""The native pixels against the oracle, exactly: every format, fit, filter, layout and dtype, vectorised and not."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import golden_pixels
import numpy as np
import pixels_oracle as oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hasten import _core

PLAIN: dict[str, Any] = {
    "source": "rgb",
    "matrix": "bt601",
    "range": "limited",
    "colour": "rgb",
    "crop": None,
    "size": None,
    "fit": "stretch",
    "filter": "bilinear",
    "fill": 0,
    "mean": (0.0,),
    "std": (1.0,),
    "layout": "nchw",
    "dtype": "float32",
}
BYTES: dict[str, Any] = {**PLAIN, "layout": "nhwc", "dtype": "uint8"}


@pytest.fixture(autouse=True)
def _vectorised() -> Iterator[None]:
    yield
    _core.vectorised(True)


def plane(rng: np.random.Generator, shape: tuple[int, ...], gap: int, flipped: bool) -> np.ndarray:
    """Random bytes u8; rows `gap` pixels further apart than they have to be, from the bottom up if `flipped`."""
    whole = rng.integers(0, 256, (shape[0], shape[1] + gap, *shape[2:]), dtype=np.uint8)
    if rng.random() < 0.3:  # extremes: where clipping happens
        whole = np.where(whole < 128, 0, 255).astype(np.uint8)
    return (whole[::-1] if flipped else whole)[:, : shape[1]]


def planes(
    source: str, height: int, width: int, seed: int = 0, gap: int = 0, flipped: bool = False
) -> tuple[np.ndarray, ...]:
    """A random image."""
    half = ((height + 1) // 2, (width + 1) // 2)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "grey": [(height, width)],
        "i420": [(height, width), half, half],
        "nv12": [(height, width), (*half, 2)],
    }
    rng = np.random.default_rng(seed)
    return tuple(plane(rng, shape, gap, flipped) for shape in shapes.get(source, [(height, width, 3)]))


def prepared(image: tuple[np.ndarray, ...], how: dict[str, Any], vectorised: bool, **more: Any) -> np.ndarray:
    _core.vectorised(vectorised)
    height, width = image[0].shape[:2]
    return np.asarray(_core.Preparer(width, height, **how).run(*image, **more))


def same_as_oracle(image: tuple[np.ndarray, ...], how: dict[str, Any]) -> None:
    wanted = oracle.prepare(image, how)
    for vectorised in (False, True):
        got = prepared(image, how, vectorised)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted, strict=True)


SIDE = st.one_of(st.integers(1, 12), st.integers(1, 90))


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
    how = dict(PLAIN)
    for name, values in {
        "source": ["rgb", "bgr", "grey", "i420", "nv12"],
        "matrix": ["bt601", "bt709"],
        "range": ["limited", "full"],
        "colour": ["rgb", "bgr", "grey"],
        "fit": ["stretch", "letterbox", "centre_crop"],
        "filter": ["bilinear", "bicubic"],
        "layout": ["nchw", "nhwc"],
        "dtype": ["float32", "uint8"],
    }.items():
        how[name] = draw(st.sampled_from(values))
    height, width = draw(SIDE), draw(SIDE)
    if draw(st.booleans()):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        how["crop"] = (top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))
    box = how["crop"][2:] if how["crop"] else (height, width)
    how["size"] = draw(st.one_of(st.none(), st.tuples(*(st.one_of(SIDE, st.just(side)) for side in box))))
    how["fill"] = draw(st.sampled_from([0, 114, 255]))
    if how["dtype"] == "float32":
        channels = 1 if how["colour"] == "grey" else 3
        level = st.floats(0.25, 255, width=32)
        for name in ("mean", "std"):
            how[name] = draw(st.one_of(st.tuples(level), st.tuples(*[level] * channels)))
    seed, gap, flipped = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 3)), draw(st.booleans())
    return planes(how["source"], height, width, seed, gap, flipped), how


@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases())
def test_every_kind_of_image_and_preparation(case: tuple[tuple[np.ndarray, ...], dict[str, Any]]) -> None:
    same_as_oracle(*case)


@pytest.mark.parametrize("filter_", ["bilinear", "bicubic"])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
@pytest.mark.parametrize(
    ("from_", "to"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (5, 7)),
        ((1, 3000), (2, 3)),
        ((2500, 1), (3, 2)),
        ((3, 5), (300, 200)),
        ((270, 481), (224, 224)),
        ((97, 131), (96, 131)),
        ((97, 131), (97, 130)),
        ((2, 2), (1, 1)),
    ],
)
def test_extreme_sizes(from_: tuple[int, int], to: tuple[int, int], colour: str, filter_: str) -> None:
    same_as_oracle(planes("rgb", *from_), {**BYTES, "size": to, "colour": colour, "filter": filter_})


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("range_", ["limited", "full"])
def test_yuv_is_what_the_standards_say(matrix: str, range_: str) -> None:
    """Every Y, U, V on a grid is within 0.55 levels of the standard's formula in floating point: rounding is 0.5."""
    grid = np.unique(np.append(np.arange(0, 256, 5), [1, 16, 127, 128, 129, 235, 240])).astype(np.uint8)
    y, u, v = (part.reshape(-1) for part in np.meshgrid(grid, grid, grid))
    luma = np.repeat(y, 2)  # two pixels to a chroma sample
    how = {**BYTES, "source": "i420", "matrix": matrix, "range": range_}
    parts = []
    for i in range(0, len(y), 30000):  # rows of a width that is allowed
        row, cb, cr = (part[None, a : a + n] for part, a, n in ((luma, 2 * i, 60000), (u, i, 30000), (v, i, 30000)))
        parts.append(prepared((row, cb, cr), how, True))
    got = np.concatenate(parts, axis=1)[0, ::2]
    red, blue = (0.299, 0.114) if matrix == "bt601" else (0.2126, 0.0722)
    zero, luma_span, chroma_span = (16, 219, 224) if range_ == "limited" else (0, 255, 255)
    light, cb, cr = (y - float(zero)) / luma_span, (u - 128.0) / chroma_span, (v - 128.0) / chroma_span
    r, b = light + 2 * (1 - red) * cr, light + 2 * (1 - blue) * cb
    g = (light - red * r - blue * b) / (1 - red - blue)
    exact = np.clip(np.stack([r, g, b], axis=-1) * 255, 0, 255)
    assert np.abs(got - exact).max() < 0.55


def test_grey_of_every_colour_on_a_grid() -> None:
    grid = np.unique(np.append(np.arange(0, 256, 7), [1, 254, 255])).astype(np.uint8)
    colours = np.stack(np.meshgrid(grid, grid, grid), axis=-1).reshape(len(grid), -1, 3)
    same_as_oracle((colours,), {**BYTES, "colour": "grey"})
    grey = prepared((colours,), {**BYTES, "colour": "grey"}, True)[..., 0]
    assert np.abs(grey - colours @ np.array([0.299, 0.587, 0.114])).max() < 0.51


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(["rgb", "grey"]),
    st.sampled_from(["bilinear", "bicubic"]),
    st.tuples(SIDE, SIDE),
    st.tuples(SIDE, SIDE),
)
def test_stretch_is_pillows(source: str, filter_: str, from_: tuple[int, int], to: tuple[int, int]) -> None:
    pillow = pytest.importorskip("PIL")
    if int(pillow.__version__.split(".")[0]) >= 13:
        pytest.skip("Pillow 13 resizes in another order")
    from PIL import Image

    (image,) = planes(source, *from_, seed=from_[0])
    kind = Image.Resampling.BILINEAR if filter_ == "bilinear" else Image.Resampling.BICUBIC
    wanted = np.asarray(Image.fromarray(image).resize(to[::-1], kind))
    how = {**BYTES, "source": source, "colour": source, "size": to, "filter": filter_}
    np.testing.assert_array_equal(prepared((image,), how, True).reshape(wanted.shape), wanted)


def test_packed_yuv_is_its_planes() -> None:
    y, u, v = planes("i420", 10, 14)
    together = np.concatenate([y.reshape(-1), u.reshape(-1), v.reshape(-1)]).reshape(15, 14)
    how = {**BYTES, "source": "i420"}
    np.testing.assert_array_equal(
        np.asarray(_core.Preparer(14, 10, **how).run(together)), prepared((y, u, v), how, True), strict=True
    )
    uv = np.stack([u, v], axis=-1)
    wide = np.zeros((15, 20), np.uint8)
    wide[:, :14] = np.concatenate([y, uv.reshape(5, 14)])
    np.testing.assert_array_equal(
        np.asarray(_core.Preparer(14, 10, **{**how, "source": "nv12"}).run(wide[:, :14])),
        prepared((y, uv), {**how, "source": "nv12"}, True),
        strict=True,
    )


def test_shape_and_out() -> None:
    how = {"size": (4, 6), "fit": "letterbox", "fill": 9}
    preparer = _core.Preparer(5, 8, **how)
    assert preparer.shape == (3, 4, 6)
    out = np.full((3, 4, 6), np.nan, np.float32)
    (image,) = planes("rgb", 8, 5)
    image.flags.writeable = False
    assert preparer.run(image, out=out) is out
    np.testing.assert_array_equal(out, preparer.run(image), strict=True)
    np.testing.assert_array_equal(out, oracle.prepare((image,), {**PLAIN, **how}), strict=True)
    assert _core.Preparer(5, 8, layout="NHWC", colour="grey", source="NV12").shape == (8, 5, 1)


def test_threads_may_share_a_preparer() -> None:
    images = [planes("rgb", 90, 120, seed)[0] for seed in range(4)]
    preparer = _core.Preparer(120, 90, **{**BYTES, "size": (64, 64)})
    wanted = [np.asarray(preparer.run(image)) for image in images]
    wrong: list[int] = []

    def work(index: int) -> None:
        wrong.extend(index for _ in range(100) if not np.array_equal(preparer.run(images[index]), wanted[index]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_this_machine_tests_the_vector_instructions() -> None:
    """Otherwise every comparison above has held the scalar code against itself."""
    with open("/proc/cpuinfo") as file:
        able = "avx2" in file.read()
    assert _core.vectorised(True) == (able and os.uname().machine == "x86_64")
    assert not _core.vectorised(False)


def test_the_golden_cases_are_the_oracles() -> None:
    assert golden_pixels.FILE.read_text().splitlines() == golden_pixels.lines()
