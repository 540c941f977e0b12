"""A comparison as tables and as a page."""

import pytest
from results import HOSTILE, comparison
from test_html import Seen
from test_table import shown

from hasten.report.comparison import comparison_tables, page


def test_every_row_has_its_figures() -> None:
    text = shown(comparison_tables(comparison()))
    assert "onnxruntime(threads=2)" in text
    for recipe in ("as it is", "heal(epochs=3)", "prune(epochs=3)", "half", "prune(epochs=3) > quantize"):
        assert recipe in text
    assert "7.20 [7.06, 7.34]" in text  # the best engine's, with its interval
    assert "+0.0040 [+0.0025, +0.0055]" in text
    assert "ms, onnxruntime" in text
    assert "ms, openvino bf16" in text
    assert "not known" in text
    assert text.rstrip().endswith("as the model as it is")


@pytest.mark.parametrize("width", [100, 160])
def test_a_line_is_as_wide_as_the_terminal(width: int) -> None:
    assert max(map(len, shown(comparison_tables(comparison()), width).splitlines()[:-1])) <= width


def test_the_page_shows_what_was_left_and_why() -> None:
    text = Seen(page(comparison())).text
    for said in ("head (its channels are outputs", "half has nothing to do: no weights", "architecture-dependent?"):
        assert said in text
    tags = Seen(page(comparison())).tags
    assert [a["class"] for tag, a in tags if tag == "tr" and a.get("class")] == [
        "baseline", "kept", "kept", "rejected", "failed", "kept",
    ]  # fmt: skip
    assert len([a for tag, a in tags if tag == "circle"]) + len([t for t, _ in tags if t == "path"]) == 5 + 4


def test_hostile_words_are_shown_as_they_are() -> None:
    made = comparison(task=HOSTILE, command=HOSTILE, verdict=HOSTILE)
    for row in made["rows"]:
        row |= {"recipe": HOSTILE, "reason": HOSTILE, "untouched": {HOSTILE: {HOSTILE: HOSTILE}}}
    text = page(made)
    assert Seen(text).text.count(HOSTILE) > 20
    assert "<script>alert" not in text
