"""The pipeline: what it decides and how clearly, what it refuses, and that it survives JSON."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hasten.answer import SURE, Answer
from hasten.errors import InputError, MissingError
from hasten.model import Signature, Tensor
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare


def classes(**settings) -> Pipeline:
    return Pipeline(answer=Answer("classes", **settings))


def margin(pipeline: Pipeline, outputs: dict) -> float | None:
    """In the outputs' own unit."""
    return pipeline.answer.margin(outputs, dict.fromkeys(outputs, 1.0))


def signature(*shape) -> Signature:
    return Signature((Tensor("image", "float32", ("N", 3)),), (Tensor("logits", "float32", shape),))


def test_survives_json():
    whole = Pipeline(
        {"image": Prepare("image", size=(224, 320), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))},
        Window(2.0, 15.0, 0.5),
        Answer("events", labels=("shot", "pass"), threshold=0.25),
    )
    assert Pipeline.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    assert Pipeline.from_json(json.loads(json.dumps(Pipeline().to_json()))) == Pipeline()


def test_refuses_what_needs_native_code(monkeypatch: pytest.MonkeyPatch):
    """Where the extension was not built: images, boxes and events are refused, classes of arrays are not."""
    monkeypatch.setitem(sys.modules, "hasten._core", None)
    for pipeline in (
        Pipeline({"image": Prepare("image")}),
        Pipeline(answer=Answer("boxes")),
        Pipeline(answer=Answer("events")),
    ):
        with pytest.raises(MissingError, match="native code, which this installation lacks"):
            pipeline.require()
    Pipeline(window=Window(1.0, 10.0, 1.0), answer=Answer("classes")).require()


WINDOW = Window(0.5, 6.0, 0.25)  # three frames


def test_frames_of_a_window_are_prepared_as_they_would_be_alone():
    how = Prepare("image", size=(4, 6), mean=(100.0,), std=(50.0,))
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 8, 3), np.uint8)
    found = Pipeline({"clip": how}, WINDOW).prepared({"clip": clips})["clip"]
    assert found.shape == (2, 3, 3, 4, 6)
    for n in range(2):
        np.testing.assert_array_equal(found[n], how(clips[n]))
    np.testing.assert_array_equal(Pipeline({"clip": how}, WINDOW).prepare(clips[0]), found[0])


@pytest.mark.parametrize("shape", [(2, 4, 9, 8, 3), (9,)])
def test_a_window_has_all_its_frames(shape: tuple):
    with pytest.raises(InputError) as refusal:
        Pipeline({"clip": Prepare("image")}, WINDOW).prepared({"clip": np.zeros(shape, np.uint8)})
    assert str(refusal.value) == f"raw frames are uint8 {list(shape)}; the window has 3 frames: [N, 3, ...]"


def test_an_array_is_prepared_already():
    raw = {"image": np.ones((2, 3), np.float32)}
    assert Pipeline({"image": Prepare()}).prepared(raw)["image"] is raw["image"]


def test_classes_are_best_first_and_ties_go_to_the_first():
    scores = {"y": np.array([[1, 5, 3], [2, 2, 0]], np.float32), "other": np.zeros((2, 9))}
    assert classes().decide(scores) == [[1], [0]]
    assert classes(top_k=2).decide(scores) == [[1, 2], [0, 1]]
    assert classes(top_k=9).decide(scores) == [[1, 2, 0], [0, 1, 2]]


def test_unsigned_scores_are_not_wrapped():
    assert classes().decide({"y": np.array([[0, 200, 7]], np.uint8)}) == [[1]]


def test_classes_nest_like_the_axes_between():
    scores = np.zeros((2, 3, 2, 4), np.float32)
    scores[..., 1] = 1
    scores[1, 2, 0, 3] = 2
    assert classes().decide({"y": scores}) == [[[[1], [1]]] * 3, [[[1], [1]], [[1], [1]], [[3], [1]]]]


@pytest.mark.parametrize(
    ("activation", "low", "high"), [("softmax", 0.6, 0.7), ("sigmoid", 0.8, 0.9), ("none", 1.9, 2.1)]
)
def test_a_threshold_is_on_the_activated_score(activation, low, high):
    scores = {"y": np.array([[2.0, 1.0, 0.0]])}  # softmax 0.665, sigmoid 0.881
    assert classes(activation=activation, threshold=low).decide(scores) == [[0]]
    assert classes(activation=activation, threshold=high).decide(scores) == [[]]


def test_a_tensor_decides_nothing():
    outputs = {"y": np.zeros((3, 2))}
    assert Pipeline().decide(outputs) == [None] * 3
    assert margin(Pipeline(), outputs) is None


def test_margin_is_the_smallest_gap():
    scores = {"y": np.array([[9.0, 5.0, 4.5], [3.0, 1.0, 0.0]])}
    assert margin(classes(), scores) == 2.0
    assert margin(classes(top_k=2), scores) == 0.5
    assert margin(classes(threshold=3.25), scores) == 0.25
    both = {"y": np.log([[3.0, 1.0], [2.0, 3.0]])}  # softmax 0.75 and 0.6 for the best
    assert margin(classes(activation="softmax", threshold=0.625), both) == pytest.approx(0.025)
    assert margin(classes(), {"y": np.ones((4, 1))}) == SURE


@given(
    arrays(np.float64, (3, 5), elements=st.floats(-8, 8)),
    arrays(np.float64, (3, 5), elements=st.floats(-0.49, 0.49)),
    st.sampled_from(["none", "softmax", "sigmoid"]),
    st.integers(1, 5),
    st.none() | st.floats(0.1, 0.9),
)
def test_no_decision_changes_within_half_the_margin(scores, shift, activation, top_k, threshold):
    pipeline = classes(activation=activation, top_k=top_k, threshold=threshold)
    far = margin(pipeline, {"y": scores})
    assert far is not None
    if 1e-6 < far < SURE:
        assert pipeline.decide({"y": scores + shift * far}) == pipeline.decide({"y": scores})


@pytest.mark.parametrize(
    ("pipeline", "shape", "sentence"),
    [
        (Pipeline({"img": Prepare()}), ("N", 4), "the pipeline prepares 'img'; the network's inputs are ['image']"),
        (
            classes(),
            ("N",),
            "the pipeline answers with classes, but the first output is logits float32 [N]; "
            "scores [N, ..., classes] have to come first",
        ),
        (
            Pipeline({"image": Prepare("image")}),
            ("N", 4),
            "the pipeline prepares images, and the input is image float32 [N, 3]; "
            "images are [N, C, H, W], with a time window [N, frames, C, H, W]",
        ),
        (
            Pipeline(window=Window(0.01, 10.0, 1.0)),
            ("N", 4),
            "the window has 0 frames; it has from 1 to 1000000",
        ),
        (
            Pipeline(window=Window(2.0, 10.0, 1.0)),
            ("N", 4),
            "the window has 20 frames, and the inputs are image float32 [N, 3]; "
            "an input with a time axis is [N, frames, ...]",
        ),
        (
            Pipeline(answer=Answer("boxes")),
            ("N", 4),
            "the pipeline answers with boxes, but the outputs are logits float32 [N, 4]; "
            "scores [N, boxes, classes] have to come first, then boxes [N, boxes, 4]",
        ),
        (
            Pipeline(answer=Answer("events", on=0.25, off=0.5)),
            ("N", 4),
            "an event begins at 0.25 and ends below 0.5; let `off` be at most `on`",
        ),
        (
            classes(labels=("a", "b")),
            ("N", 3),
            "the pipeline has 2 labels, and the first output is logits float32 [N, 3]; give one label for each class",
        ),
    ],
)
def test_has_to_speak_of_this_network(pipeline, shape, sentence):
    with pytest.raises(InputError) as refusal:
        pipeline.check(signature(*shape))
    assert str(refusal.value) == sentence
    classes(labels=("a", "b", "c")).check(signature("N", 3))


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [(1.0, 8.0, list(range(8))), (1.0, 4.0, [1, 3, 5, 7]), (0.5, 8.0, [4, 5, 6, 7]), (1.0, 3.0, [2, 4, 7])],
)
def test_a_shorter_window_has_the_newest_frames_of_a_longer_one(seconds: float, fps: float, frames: list[int]):
    assert Window(seconds, fps, 1.0).among(Window(1.0, 8.0, 1.0)) == frames
