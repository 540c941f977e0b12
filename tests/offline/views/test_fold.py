"""Answers of several views are one answer; what a network cannot take is said in a sentence."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from onnx import helper
from scipy import special

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.data import Data
from hasten.errors import UsageError
from hasten.model import Signature, Tensor
from hasten.offline.views import fold
from hasten.offline.views.geometry import Axes
from hasten.offline.views.view import IDENTITY, parse, spread
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare
from hasten.stage import Stage

softmax = partial(special.softmax, axis=-1)

GOLDEN = Path(__file__).parents[3] / "spec" / "golden"
SMOOTH = 0.06  # of the range: two linear interpolations of a wave of at least 16 cells


def plan(words: str, image: tuple[Any, ...], output: tuple[Any, ...], merge: str = "mean", **how: Any) -> fold.Views:
    """Of a network from an NCHW image to one output; `how` are the answer's, or of the pipeline."""
    prepare = Prepare("image", layout=how.pop("layout", "NCHW"))
    pipeline = Pipeline({"image": prepare}, how.pop("window", None), Answer(**({"kind": "tensor"} | how)))
    signature = Signature((Tensor("image", "float32", image),), (Tensor("out", "float32", output),))
    return fold.Views.of(words, signature, pipeline, merge)


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
        fold.Views.of("hflip", bundle.signature, bundle.pipeline)


def test_answers_of_a_bundle_and_of_its_session() -> None:
    with Bundle.load(GOLDEN / "classifier", verify=False) as bundle:
        feed = {n: np.load(bundle.folder / f) for n, f in bundle.golden.cases[0].prepared.items()}
        found = fold.answers(bundle, feed, "hflip,shift=1", "geometric")
        ((_, session),) = bundle.flow.running()
        again = fold.answers(session, feed, parse("hflip,shift=1"), "geometric", bundle.pipeline)
        assert np.array_equal(found["logits"], again["logits"])
        each = [
            bundle.infer({"image": v.tensor(feed["image"], Axes(2, 3))})["logits"]
            for v in spread(parse("hflip,shift=1"), False)
        ]
        powers = np.exp(np.mean([np.log(softmax(e)) for e in each], axis=0))
        assert np.allclose(softmax(found["logits"]), powers / powers.sum(-1, keepdims=True), atol=1e-6)


def test_boxes_of_a_bundle_in_shares(tmp_path: Path) -> None:
    """A network that always tells two boxes, in shares as its golden cases say: mirrored they are shares too."""
    sides = np.array([0.1, 0.2, 0.3, 0.4, 0.1, 0.6, 0.2, 0.9], np.float32)
    constants = {
        "flat": np.array([-1, 64]), "none": np.zeros((64, 2), np.float32), "nowhere": np.zeros((64, 8), np.float32),
        "s": np.array([0.9, 0.8], np.float32), "b": sides, "rows": np.array([-1, 2, 1]),
        "corners": np.array([-1, 2, 4]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["image", "flat"], ["r"]),
        helper.make_node("Gemm", ["r", "none", "s"], ["g"]),
        helper.make_node("Reshape", ["g", "rows"], ["scores"]),
        helper.make_node("Gemm", ["r", "nowhere", "b"], ["c"]),
        helper.make_node("Reshape", ["c", "corners"], ["boxes"]),
    ]
    outputs = {"scores": ["N", 2, 1], "boxes": ["N", 2, 4]}
    file = bundles.save(tmp_path / "n.onnx", nodes, {"image": ["N", 1, 8, 8]}, outputs, constants)
    image = np.random.default_rng(0).normal(size=(9, 1, 8, 8)).astype(np.float32)
    pipeline = Pipeline(answer=Answer("boxes", threshold=0.3, iou=0.5))
    stages = [Stage.of(file, bundles.engine())]
    with bundles.make(tmp_path / "bundle", stages=stages, pipeline=pipeline, cases=Data({"image": image})) as bundle:
        found = fold.answers(bundle, {"image": image}, "hflip")["boxes"]
    mirrored = sides.reshape(2, 4)[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [1, 0, 1, 0]
    possible = np.concatenate([sides.reshape(2, 4), mirrored])
    apart = np.abs(found.reshape(-1, 1, 4) - possible).max(axis=-1)
    assert (apart.min(axis=1) < 1e-6).all()
