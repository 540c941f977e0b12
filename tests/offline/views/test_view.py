"""Views: what a view does is undone; what is no view is said in a sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import UsageError
from hasten.offline.views.geometry import Axes, Size
from hasten.offline.views.view import CROPS, View, parse, spread
from hasten.prepare import Prepare

LAYOUTS = {"NCHW": Axes(2, 3), "NHWC": Axes(1, 2), "NTCHW": Axes(3, 4, 1), "NTHWC": Axes(2, 3, 1)}
EXACT = ("identity", "hflip", "vflip", "rot90", "rot180", "rot270", "up=1", "down=2", "left=1", "right=2")
RESAMPLED = ("scale=0.8", "scale=1.25", "crop=0.8", "scale=1.5")
SMOOTH = 0.06  # of the range: two linear interpolations of a wave of at least 16 cells


@st.composite
def tensors(draw: st.DrawFn, least: int = 4) -> tuple[np.ndarray, Axes, str]:
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    sides = {"N": 2, "C": draw(st.integers(1, 3)), "T": draw(st.integers(3, 5))}
    sides |= {side: draw(st.integers(least, 12)) for side in "HW"}
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    array = rng.integers(0, 256, [sides[a] for a in layout]).astype(np.uint8)
    dtype = draw(st.sampled_from(["uint8", "float32", "float16", "int64"]))
    return array.astype(dtype), LAYOUTS[layout], layout


def size_of(array: np.ndarray, axes: Axes) -> Size:
    return Size(*(array.shape[a] for a in axes.space))


def there_and_back(view: View, array: np.ndarray, axes: Axes, free: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A tensor that is a map of itself; and where it is known."""
    seen, size = view.tensor(array, axes, free), size_of(array, axes)
    assert seen.dtype == array.dtype
    back, known = view.undone(seen, axes, size, size, free)
    return back, np.broadcast_to(True if known is None else known, array.shape)


@pytest.mark.parametrize("word", EXACT)
@given(tensors())
@settings(max_examples=12, deadline=None)
def test_undone_it_is_as_it_was(word: str, drawn: tuple[np.ndarray, Axes, str]) -> None:
    array, axes, _ = drawn
    (view,) = parse(word)
    back, known = there_and_back(view, array, axes)
    assert back.dtype == array.dtype
    assert np.array_equal(back[known], array[known])
    lost = array[0].size - known[0].sum()
    (name, amount), (height, width) = view.steps[0], size_of(array, axes)
    strips = {"up": width, "down": width, "left": height, "right": height}
    assert lost == array[0].size // (height * width) * int(amount) * strips.get(name, 0)


@given(tensors(), st.lists(st.sampled_from(EXACT[1:]), min_size=2, max_size=3))
@settings(max_examples=40, deadline=None)
def test_steps_are_undone_in_their_order(drawn: tuple[np.ndarray, Axes, str], words: list[str]) -> None:
    array, axes, _ = drawn
    (view,) = parse("+".join(words))
    back, known = there_and_back(view, array, axes)
    assert np.array_equal(back[known], array[known])


@given(tensors(), st.sampled_from(["later=1", "earlier=2", "later=1+hflip"]))
@settings(max_examples=20, deadline=None)
def test_delays_are_undone(drawn: tuple[np.ndarray, Axes, str], word: str) -> None:
    array, axes, layout = drawn
    if "T" not in layout:
        return
    (view,) = parse(word)
    back, known = there_and_back(view, array, axes)
    assert np.array_equal(back[known], array[known])
    frames = array.shape[1]
    assert known.any(axis=tuple(a for a in range(known.ndim) if a != 1)).sum() == frames - view.steps[0][1]


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("word", [*RESAMPLED, "hflip+scale=0.8", "scale=1.25+rot90", "rot90+crop=0.8"])
def test_a_smooth_map_comes_back_where_it_was_looked_at(word: str, free: bool) -> None:
    y, x = np.mgrid[:32, :40]
    smooth = (np.sin(y / 6) + np.cos(x / 5))[None, None].astype(np.float32)
    for view in spread(parse(word), clip=False)[1:]:
        back, known = there_and_back(view, smooth, LAYOUTS["NCHW"], free)
        assert known.mean() > (0.99 if "scale=0.8" in word or (free and "scale" in word) else 0.4)
        assert np.abs(back - smooth)[known].max() <= SMOOTH * np.ptp(smooth)


def test_a_map_of_fewer_cells_goes_back_by_parts_of_a_cell() -> None:
    """Two pixels up are half a cell of a map with a stride of four."""
    (up,) = parse("up=2")
    ramp = np.broadcast_to(np.arange(8.0)[:, None], (8, 8))[None, None]
    back, known = up.undone(ramp + 0.5, Axes(2, 3), Size(32, 32), Size(8, 8))
    assert known is not None
    assert np.allclose(back[0, 0, 1:], ramp[0, 0, 1:])
    assert known[0, 0, :, 0].tolist() == [False, *[True] * 7]


def test_bytes_are_resized_as_the_pipeline_does() -> None:
    """Floats by the same kernel: never a grey level away."""
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 30), np.uint8)
    (view,) = parse("centre=0.75")
    seen = view.tensor(image, Axes(2, 3))
    how = Prepare("image", crop=(3, 4, 18, 22), size=(24, 30), dtype="uint8")
    assert np.array_equal(seen, how(np.ascontiguousarray(np.moveaxis(image, 1, -1))))
    floats = view.tensor(image.astype(np.float32), Axes(2, 3))
    assert np.abs(floats - seen).max() <= 1.5


@given(
    st.lists(st.floats(0, 40), min_size=4, max_size=4),
    st.sampled_from([*EXACT, *RESAMPLED, "hflip+left=2", "scale=1.25+rot90+up=1"]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_a_box_comes_back(sides: list[float], word: str, free: bool) -> None:
    left, right = sorted(sides[:2])
    top, bottom = sorted(sides[2:])
    box = np.array([[left, top, right, bottom]])
    for view in spread(parse(word), clip=False):
        there = view.boxes(box, Size(48, 64), free, back=False)
        assert np.allclose(view.boxes(there, Size(48, 64), free), box, atol=1e-9)


@pytest.mark.parametrize("word", [*EXACT, "scale=0.5", "centre=0.5", "hflip+up=4", "rot90+left=4"])
def test_a_box_goes_where_its_pixels_go(word: str) -> None:
    """A bright square, and the box around it."""
    image = np.zeros((1, 1, 32, 40), np.float32)
    image[0, 0, 12:20, 16:24] = 1
    (view,) = parse(word)
    seen = view.tensor(image, Axes(2, 3))[0, 0] > 0.5
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    box = np.array([16.0, 12, 24, 20])
    assert view.boxes(box, Size(32, 40), back=False).tolist() == found
    assert view.boxes(np.array(found), Size(32, 40)).tolist() == box.tolist()


@given(st.lists(st.sampled_from(["hflip", "rot90", "up=3", "scale=1.1", "topleft=0.9", "shift=2", "crop=0.875"]),
                min_size=1, max_size=4, unique=True))  # fmt: skip
def test_what_is_printed_is_read_again(words: list[str]) -> None:
    text = ",".join([*words, "+".join(words)])
    assert parse(",".join(map(str, parse(text)))) == parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hflop", "did you mean 'hflip'"),
        ("hflip=1", "takes no amount"),
        ("shift", "how many pixels"),
        ("shift=1.5", "how many pixels"),
        ("scale=9", "from 0.5 to 2"),
        ("scale=1", "share"),
        ("crop=1.2", "share"),
        ("hflip+", "no view is called ''"),
    ],
)
def test_what_is_no_view(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_a_family_is_its_members_once() -> None:
    assert [str(v) for v in spread(parse("shift=2,up=2"), clip=False)] == [
        "identity", "up=2", "down=2", "left=2", "right=2",
    ]  # fmt: skip
    assert [str(v) for v in spread(parse("shift=2,identity"), clip=True)] == ["identity", "later=2", "earlier=2"]
    assert len(spread(parse("hflip+crop=0.9"), clip=False)) == 1 + len(CROPS)
