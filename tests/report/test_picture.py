"""The picture: who is on the front, that everything is inside the frame, and labels that can be read."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results import hostile, refused, result, row

from hasten.report.picture import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, front, picture

FIGURES = st.lists(st.tuples(st.floats(0.05, 50), st.floats(-0.1, 1)), min_size=1, max_size=20)


def rows(figures: list[tuple[float, float]]) -> list[dict]:
    return [row("simplify", f"engine{i}", "kept", speed, drop) for i, (speed, drop) in enumerate(figures)]


@given(FIGURES)
def test_the_front_is_what_nothing_beats(figures: list[tuple[float, float]]) -> None:
    all_rows = rows(figures)
    best = {(r["speedup"], r["accuracy_drop"]) for r in front(all_rows)}
    for speed, drop in figures:
        beaten = any((s >= speed and d <= drop) and (s, d) != (speed, drop) for s, d in figures)
        assert ((speed, drop) in best) == (not beaten)


@given(FIGURES, st.sampled_from([0.0, 0.005, 0.01, 5.0]))
def test_everything_is_inside_the_frame(figures: list[tuple[float, float]], max_drop: float) -> None:
    made = picture(result(trials=rows(figures), max_drop=max_drop))
    assert made is not None
    for mark in made.marks:
        assert LEFT <= mark.x <= WIDTH - RIGHT
        assert all(TOP <= y <= HEIGHT - BOTTOM for y in (mark.y, mark.low_y, mark.high_y))
        assert mark.low_y <= mark.y <= mark.high_y
    assert TOP <= made.budget_y <= HEIGHT - BOTTOM
    assert made.x_ticks
    assert made.y_ticks


def test_faster_is_to_the_right_and_better_is_up() -> None:
    made = picture(result())
    assert made is not None
    by_tip = {m.tip.partition(":")[0]: m for m in made.marks}
    slow, quick = by_tip["simplify on onnxruntime(threads=2)"], by_tip["quantize(method=nncf) on openvino(threads=2)"]
    assert slow.x < quick.x
    assert slow.y < quick.y < made.budget_y
    assert quick.kind == "winner"


def test_a_collapsed_candidate_does_not_squash_the_others() -> None:
    made = picture(result())
    assert made is not None
    (collapsed,) = (m for m in made.marks if m.beyond)
    assert collapsed.tip.startswith("half on onnxruntime")
    assert len({m.y for m in made.marks if not m.beyond}) > 3


def test_the_winner_stands_once() -> None:
    made = picture(result())
    assert made is not None
    won = [m for m in made.marks if m.tip.startswith("quantize(method=nncf) on openvino")]
    assert [m.kind for m in won] == ["winner"]
    assert "top1 0.9289" in won[0].tip  # the final figure


def test_labels_of_the_front_meet_nothing() -> None:
    made = picture(result())
    assert made is not None
    labelled = [m for m in made.marks if m.label]
    assert {m.label for m in labelled} == {"int8, openvino", "int8, onnxruntime"}
    assert len(labelled) == 3
    for a, b in itertools.combinations(labelled, 2):
        assert abs(a.label_y - b.label_y) >= 12 or abs(a.label_x - b.label_x) > 100


def test_nothing_measured_no_picture() -> None:
    unmeasured = [row("as it is", "onnxruntime", "failed", None, None)]
    assert picture(result(baselines=unmeasured, trials=unmeasured, winner=None)) is None


@pytest.mark.parametrize("made", [refused(), hostile()])
def test_other_results_have_one(made: dict) -> None:
    assert picture(made) is not None
