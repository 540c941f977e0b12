"""Views: what a view does is undone; answers of several are one answer; what cannot be is said in a sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.errors import UsageError
from hasten.model import Signature, Tensor
from hasten.offline import fusion, views
from hasten.offline.geometry import Axes, Size
from hasten.offline.merge import Merge, merged
from hasten.offline.view import CROPS, IDENTITY, View, parse, spread
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare

GOLDEN = Path(__file__).parents[2] / "spec" / "golden"
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


# ---- networks


def plan(words: str, image: tuple[Any, ...], output: tuple[Any, ...], merge: str = "mean", **how: Any) -> views.Views:
    """Of a network from an NCHW image to one output; `how` are the answer's, or of the pipeline."""
    prepare = Prepare("image", layout=how.pop("layout", "NCHW"))
    pipeline = Pipeline({"image": prepare}, how.pop("window", None), Answer(**({"kind": "tensor"} | how)))
    signature = Signature((Tensor("image", "float32", image),), (Tensor("out", "float32", output),))
    return views.Views.of(words, signature, pipeline, merge)


@pytest.mark.parametrize("merge", ["mean", "geometric:softmax", "max", "vote:softmax"])
def test_one_view_is_the_plain_answer(merge: str) -> None:
    x = np.random.default_rng(0).normal(size=(3, 1, 4, 6)).astype(np.float32)
    one = plan("identity", ("N", 1, 4, 6), ("N", 24), merge)
    assert one.views == (IDENTITY,)
    given = x.reshape(3, -1)
    assert (
        one.answers(lambda feed: {"out": feed["image"].reshape(3, -1)}, {"image": x})["out"].tobytes()
        == given.tobytes()
    )
    several = plan("hflip", ("N", 1, 4, 6), ("N", 24), merge)
    seen = several.seen(lambda feed: {"out": feed["image"].reshape(-1, 24)}, {"image": x})
    assert several.merged(seen[:1])["out"].tobytes() == given.tobytes()


@pytest.mark.parametrize(
    ("words", "layout"),
    [("hflip,vflip,shift=2", "NCHW"), ("crop=0.75,rot180,hflip+up=1", "NHWC"), ("rot90,scale=0.5", "NCHW")],
)
def test_a_dense_map_is_put_back_before_it_is_merged(words: str, layout: str) -> None:
    """A network that gives each pixel its own value: all views agree, wherever they have looked."""
    y, x = np.mgrid[:24, :24]
    image = (np.sin(y / 5) + x / 24)[None, None].repeat(2, 0).astype(np.float32)
    image = image if layout == "NCHW" else np.moveaxis(image, 1, -1)
    shape = ("N", *image.shape[1:])
    found = plan(words, shape, shape, layout=layout).answers(lambda feed: {"out": feed["image"]}, {"image": image})
    exact = "crop" not in words and "scale" not in words
    assert np.allclose(found["out"], image, atol=1e-6 if exact else SMOOTH)


def test_views_of_other_sizes_where_the_size_is_free() -> None:
    """The map of a network of stride 2 comes back to its own grid."""
    y, x = np.mgrid[:32, :48]
    image = (np.sin(y / 9) + np.cos(x / 9))[None, None].astype(np.float32)
    shapes: list[tuple[int, ...]] = []

    def pooled(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        a = feed["image"]
        shapes.append(a.shape)
        return {
            "out": a[..., : a.shape[2] // 2 * 2, : a.shape[3] // 2 * 2]
            .reshape(len(a), 1, a.shape[2] // 2, 2, -1, 2)
            .mean((3, 5))
        }

    how = plan("rot90,scale=1.5", ("N", 1, "H", "W"), ("N", 1, "h", "w"))
    found = how.answers(pooled, {"image": image})["out"]
    assert shapes == [(1, 1, 32, 48), (1, 1, 48, 32), (1, 1, 48, 72)]
    assert np.allclose(found, pooled({"image": image})["out"], atol=SMOOTH)


def test_steps_of_a_clip_are_put_back_in_time() -> None:
    clip = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1, 1).repeat(4, 3).repeat(4, 4)
    how = plan("shift=1", ("N", 5, 1, 4, 4), ("N", 5, 2), window=Window(0.5, 10, 0.1))
    assert how.names == ["identity", "later=1", "earlier=1"]
    found = how.answers(lambda f: {"out": f["image"][..., 0, 0].repeat(2, 2)}, {"image": clip})["out"]
    assert np.allclose(found[0, :, 0], np.arange(5))


def test_views_are_one_batch_and_never_more_than_asked_for() -> None:
    x = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.float32)
    sizes: list[int] = []

    def infer(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes.append(len(feed["image"]))
        return {"out": feed["image"].reshape(-1, 16)}

    how = plan("hflip,rot90,up=1", ("N", 1, 4, 4), ("N", 16))
    whole = how.answers(infer, {"image": x})
    assert sizes == [12]
    parts = how.answers(infer, {"image": x}, batch=5)
    assert sizes[1:] == [5, 5, 2]
    assert np.array_equal(whole["out"], parts["out"])


@pytest.mark.parametrize(
    ("words", "image", "output", "how", "said"),
    [
        ("rot90", ("N", 3, 8, 12), ("N", 4), {}, "rot90 swaps height and width"),
        ("rot90", ("N", 3, 8, "W"), ("N", 4), {}, "rot90 swaps height and width"),
        ("hflip+up=8", ("N", 3, 8, 12), ("N", 4), {}, "leaves nothing"),
        ("later=1", ("N", 3, 8, 12), ("N", 4), {}, "is a view of clips"),
        ("hflip", ("N", 3, 8, 12), ("N", 49, 16), {}, "cannot be put back"),
        ("hflip", ("N", 3, 8, 12), ("N", 5, 4, 4), {"kind": "classes"}, "cannot be put back"),
        ("hflip", ("N", 3, 8, 12), ("N", 4), {"merge": "vote"}, "vote takes probabilities"),
        ("hflip", ("N", 3, 8, 12), ("N", 4), {"merge": "mode"}, "no way to merge is called 'mode'"),
        ("hflip", ("N", 3, 8, 12), ("N", 4), {"merge": "mean:logits"}, "no thing to merge is called 'logits'"),
    ],
)
def test_what_a_network_cannot_take(words: str, image: Any, output: Any, how: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(words, image, output, **how)


def test_a_network_without_images() -> None:
    with Bundle.load(GOLDEN / "int8", verify=False) as bundle, pytest.raises(UsageError, match="is a view of images"):
        views.Views.of("hflip", bundle.signature, bundle.pipeline)


# ---- merging


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows.astype(np.float64))
    return powers / powers.sum(-1, keepdims=True)


def test_ways_to_merge() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 9, 5)).astype(np.float32) * 3
    p = softmax(rows)
    close = {"rtol": 1e-5, "atol": 1e-6}
    assert np.allclose(merged(rows, Merge("mean", "outputs")), rows.mean(0), **close)
    assert np.allclose(merged(rows, Merge("max", "outputs")), rows.max(0), **close)
    assert np.allclose(softmax(merged(rows, Merge("mean", "softmax"))), p.mean(0), **close)
    product = np.exp(np.log(p).mean(0))
    assert np.allclose(
        softmax(merged(rows, Merge("geometric", "softmax"))), product / product.sum(-1, keepdims=True), **close
    )
    highest = p.max(0)
    assert np.allclose(
        softmax(merged(rows, Merge("max", "softmax"))), highest / highest.sum(-1, keepdims=True), **close
    )
    one_of = 1 / (1 + np.exp(-merged(rows, Merge("mean", "sigmoid")).astype(np.float64)))
    assert np.allclose(one_of, (1 / (1 + np.exp(-rows.astype(np.float64)))).mean(0), **close)
    assert np.allclose(merged(rows, Merge("geometric", "sigmoid")), rows.mean(0), **close)
    weighted = merged(rows, Merge("mean", "softmax"), weights=[1, 0, 0, 3])
    assert np.allclose(softmax(weighted), (p[0] + 3 * p[3]) / 4, **close)
    assert merged(rows, Merge("mean", "softmax")).dtype == np.float32


def test_votes_count_first_and_even_ones_go_by_the_mean() -> None:
    rows = np.log(np.array([[[0.5, 0.3, 0.2]], [[0.5, 0.3, 0.2]], [[0.0, 0.9, 0.1]]]) + 1e-9)
    assert merged(rows, Merge("vote", "softmax")).argmax() == 0
    assert merged(rows, Merge("mean", "softmax")).argmax() == 1
    assert merged(rows[1:], Merge("vote", "softmax")).argmax() == 1
    assert merged(rows, Merge("vote", "softmax"), axis=-1, weights=[1, 1, 3]).argmax() == 1


def test_what_is_not_known_does_not_count() -> None:
    rows, known = np.array([[1.0, 2.0], [9.0, 9.0]]), [None, np.array([True, False])]
    assert merged(rows, Merge("mean", "outputs"), known=known).tolist() == [5.0, 2.0]
    assert merged(rows, Merge("max", "outputs"), known=known).tolist() == [9.0, 2.0]


# ---- boxes


def of(*rows: tuple[float, ...]) -> fusion.Boxes:
    """Left, top, right, bottom, and the score of each class."""
    array = np.array(rows)
    return fusion.Boxes(array[:, :4], array[:, 4:])


def test_boxes_of_several_are_fused_by_their_scores() -> None:
    """By hand, after the paper's algorithm."""
    found = fusion.fused([of((0, 0, 10, 10, 0.9, 0.1)), of((0, 0, 10, 12, 0.3, 0.1), (50, 50, 60, 60, 0.2, 0.6))], 0.5)
    assert np.allclose(found.sides, [[0, 0, 10, (9 + 3.6) / 1.2], [50, 50, 60, 60]])
    assert np.allclose(found.scores, [[0.6, 0.1], [0.1, 0.3]])  # the second has one of two sets behind it


def test_boxes_of_two_labels_are_two() -> None:
    found = fusion.fused([of((0, 0, 10, 10, 0.9, 0.1)), of((0, 0, 10, 10, 0.1, 0.8))], 0.5)
    assert len(found.sides) == 2
    assert np.allclose(found.scores.max(axis=1), [0.45, 0.4])


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_a_detector_is_asked_from_all_sides(shares: bool, activation: Any) -> None:
    """One that finds the bright square wherever it is: the same box, once, from every view."""
    h, w = 24, 32
    image = np.zeros((2, 3, h, w), np.float32)
    image[0, :, 6:12, 8:20], image[1, :, 14:20, 2:8] = 1, 1

    def detect(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        boxes = np.zeros((len(feed["image"]), 3, 4), np.float32)
        for i, picture in enumerate(feed["image"][:, 0] > 0.5):
            rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
            boxes[i, 1] = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        raw = np.array([[-9, -9], [-1, 2], [-9, -9]] if activation == "sigmoid" else [[0, 0], [0.2, 0.9], [0, 0]])
        return {
            "scores": np.broadcast_to(raw, (len(boxes), 3, 2)).astype(np.float32),
            "boxes": boxes / ([w, h, w, h] if shares else 1),
        }

    signature = Signature(
        (Tensor("image", "float32", ("N", 3, h, w)),),
        (Tensor("scores", "float32", ("N", 3, 2)), Tensor("boxes", "float32", ("N", 3, 4))),
    )
    answer = Answer("boxes", activation=activation, threshold=0.3, iou=0.4)
    pipeline = Pipeline({"image": Prepare("image")}, answer=answer)
    how = views.Views.of("hflip,vflip,rot180,shift=2", signature, pipeline, shares=shares)
    outputs = how.answers(detect, {"image": image})
    decisions, plain = answer.decide(outputs), detect({"image": image})
    assert [[label for _, label in d] for d in decisions] == [[1], [1]]
    for i, ((box, label),) in enumerate(decisions):
        assert np.allclose(outputs["boxes"][i, box], plain["boxes"][i, 1], atol=1e-6)
        assert np.isclose(outputs["scores"][i, box, label], plain["scores"][i, 1, 1], atol=1e-5)
    assert {n: (a.shape, a.dtype) for n, a in outputs.items()} == {n: (a.shape, a.dtype) for n, a in plain.items()}


def test_boxes_that_no_view_is_sure_of_are_none() -> None:
    with Bundle.load(GOLDEN / "detector", verify=False) as bundle:
        raw = bundle.golden.raw(bundle.folder, 0)
        feed = bundle.pipeline.prepared({"image": raw["image"] * 0})
        found = views.answers(bundle, feed, "hflip,shift=1")
        assert all(len(d) <= 5 for d in bundle.pipeline.decide(found))
        assert found["scores"].shape == bundle.infer(feed)["scores"].shape


def test_answers_of_a_bundle_and_of_its_session() -> None:
    with Bundle.load(GOLDEN / "classifier", verify=False) as bundle:
        feed = {n: np.load(bundle.folder / f) for n, f in bundle.golden.cases[0].prepared.items()}
        found = views.answers(bundle, feed, "hflip,shift=1", "geometric")
        ((_, session),) = bundle.flow.running()
        again = views.answers(session, feed, parse("hflip,shift=1"), "geometric", bundle.pipeline)
        assert np.array_equal(found["logits"], again["logits"])
        each = [
            bundle.infer({"image": v.tensor(feed["image"], Axes(2, 3))})["logits"]
            for v in spread(parse("hflip,shift=1"), False)
        ]
        powers = np.exp(np.mean([np.log(softmax(e)) for e in each], axis=0))
        assert np.allclose(softmax(found["logits"]), powers / powers.sum(-1, keepdims=True), atol=1e-6)
