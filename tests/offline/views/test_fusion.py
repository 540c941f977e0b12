"""Boxes of several views are one box."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hasten.answer import Answer
from hasten.bundle import Bundle
from hasten.model import Signature, Tensor
from hasten.offline.views import fold, fusion
from hasten.pipeline import Pipeline
from hasten.prepare import Prepare

GOLDEN = Path(__file__).parents[3] / "spec" / "golden"


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
    how = fold.Views.of("hflip,vflip,rot180,shift=2", signature, pipeline, shares=shares)
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
        found = fold.answers(bundle, feed, "hflip,shift=1")
        assert all(len(d) <= 5 for d in bundle.pipeline.decide(found))
        assert found["scores"].shape == bundle.infer(feed)["scores"].shape
