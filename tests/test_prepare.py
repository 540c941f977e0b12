"""Raw images become tensors: in batches, one by one, alike from every thread; what does not fit is one sentence."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hasten.errors import InputError, MissingError
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare

GREY = Prepare("image", source="grey", colour="grey", mean=(72.93,), std=(90.015,))
PHOTO = Prepare("image", size=(24, 32), fit="letterbox", mean=(124.0, 116.0, 104.0), std=(58.0, 57.0, 57.0))


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_batch_is_normalised() -> None:
    raw = images(5, 28, 28)
    expected = (raw[:, None].astype(np.float32) - np.float32(72.93)) / np.float32(90.015)
    assert np.array_equal(GREY(raw), expected)


def test_one_image_is_prepared_as_in_a_batch() -> None:
    """What a training loader gets for an image is what the bundle gets for a batch."""
    raw, pipeline = images(3, 45, 61, 3), Pipeline({"image": PHOTO})
    batch = pipeline.prepared({"image": raw})["image"]
    assert batch.shape == (3, 3, 24, 32)
    for one, alone in zip(raw, batch, strict=True):
        assert np.array_equal(pipeline.prepare(one), alone)


def test_threads_share_nothing() -> None:
    raw = images(64, 90, 120, 3)
    expected = PHOTO(raw)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: PHOTO(raw[i : i + 1])[0], range(len(raw))))
    assert np.array_equal(np.stack(found), expected)


def test_rows_may_have_gaps() -> None:
    """A cut out of a larger picture, mirrored: no copy is needed, nor made by hand."""
    raw = images(2, 40, 50, 3)
    view = raw[:, 4:30, 10:40]
    assert np.array_equal(PHOTO(view), PHOTO(view.copy()))


@pytest.mark.parametrize("source", ["I420", "NV12"])
def test_packed_video_planes(source: str) -> None:
    grey = Prepare("image", source=source, range="full", dtype="uint8", layout="NHWC")  # type: ignore[arg-type]
    raw = np.full((1, 36, 32), 128, np.uint8)  # no colour: luma is every channel
    raw[0, :24] = images(24, 32)
    assert np.array_equal(grey(raw)[0], np.repeat(raw[0, :24, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("how", "raw", "said"),
    [
        (PHOTO, images(2, 8, 8), r"a raw image is uint8 \[2, 8, 8\]; RGB images are uint8 \[N, H, W, 3\]"),
        (PHOTO, images(2, 8, 8, 4), r"\[2, 8, 8, 4\]; RGB images are"),
        (PHOTO, images(2, 8, 8, 3).astype(np.float32), "a raw image is float32"),
        (GREY, images(2, 8, 8, 3), r"grey images are uint8 \[N, H, W\]"),
        (Prepare("image", source="NV12"), images(1, 35, 32), "no even height and width"),
        (Prepare("image", crop=(4, 4, 8, 8)), images(1, 10, 10, 3), "cannot prepare 10x10 images"),
        (Prepare("image", mean=(1.0, 2.0)), images(1, 10, 10, 3), "mean"),
        (Prepare("image", std=(0.0,)), images(1, 10, 10, 3), "std"),
    ],
)
def test_what_does_not_fit_is_one_sentence(how: Prepare, raw: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        how(raw)


def test_one_image_needs_one_image_input() -> None:
    with pytest.raises(InputError, match="prepares 2 images"):
        Pipeline({"left": PHOTO, "right": PHOTO}).prepare(images(8, 8, 3))


def test_without_native_code_images_are_refused_and_arrays_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hasten._core", None)
    with pytest.raises(MissingError, match=r"C\+\+17"):
        Pipeline({"image": PHOTO}).require()
    assert Pipeline({"image": Prepare()}).prepared({"image": images(2, 3)})["image"].shape == (2, 3)
