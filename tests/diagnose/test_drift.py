"""Drift between a bundle and a task: every field is named, with both values; what a task leaves unsaid is no drift."""

from dataclasses import fields, replace

import pytest

from hasten.answer import Answer
from hasten.diagnose.drift import drift
from hasten.pipeline import Pipeline, Window
from hasten.prepare import Prepare

IMAGE = Prepare("image", size=(8, 8), mean=(1.0,), std=(2.0,))
WHOLE = Pipeline({"image": IMAGE}, Window(3.0, 15.0, 0.5), Answer("classes", labels=("shot", "pass")))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(WHOLE, window=Window(2.0, 15.0, 0.5)), "window.seconds: 3.0 in the bundle, 2.0 in the task"),
        (
            replace(WHOLE, inputs={"image": replace(IMAGE, mean=(1.5,))}),
            "inputs.image.mean: (1.0,) in the bundle, (1.5,) in the task",
        ),
        (
            replace(WHOLE, inputs={"image": replace(IMAGE, filter="bicubic")}),
            "inputs.image.filter: bilinear in the bundle, bicubic in the task",
        ),
        (
            replace(WHOLE, inputs={"image": replace(IMAGE, range="full")}),
            "inputs.image.range: limited in the bundle, full in the task",
        ),
        (
            replace(WHOLE, answer=Answer("classes", labels=("shot", "goal"))),
            "answer.labels: ('shot', 'pass') in the bundle, ('shot', 'goal') in the task",
        ),
        (replace(WHOLE, inputs={}), "inputs.image.kind: image in the bundle, array in the task"),
        (
            replace(WHOLE, window=None),
            "window: seconds 3.0, fps 15.0, stride_s 0.5, max_gap_s 0.5, padding wait in the bundle, none in the task",
        ),
    ],
)
def test_each_change_is_named(changed: Pipeline, said: str) -> None:
    assert said in drift(WHOLE, changed)


def test_the_same_pipeline_has_not_drifted() -> None:
    assert drift(WHOLE, Pipeline.from_json(WHOLE.to_json())) == []


def test_what_the_task_does_not_say_is_no_drift() -> None:
    assert drift(replace(WHOLE, inputs={"image": Prepare()}), replace(WHOLE, inputs={}, answer=Answer())) == []


@pytest.mark.parametrize("field", [f.name for f in fields(Prepare)])
def test_no_field_is_left_out(field: str) -> None:
    moved = drift(WHOLE, replace(WHOLE, inputs={"image": replace(IMAGE, **{field: "another"})}))
    assert [m.partition(":")[0] for m in moved] == [f"inputs.image.{field}"]
